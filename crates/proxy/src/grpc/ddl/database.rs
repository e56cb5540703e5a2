//! Databases.

use redkite_proto::common::Status;
use redkite_proto::milvus::{
    AlterDatabaseRequest, CreateDatabaseRequest, DescribeDatabaseRequest, DescribeDatabaseResponse,
    DropDatabaseRequest, ListDatabasesRequest, ListDatabasesResponse,
};
use redkite_service::{Ddl, Error};

use crate::convert::schema::{pairs, properties};
use crate::define::{name, property};
use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    pub(in crate::grpc) async fn create_database(
        &self,
        _: RequestContext,
        request: CreateDatabaseRequest,
    ) -> Result<Status, Error> {
        name::database(&request.db_name)?;
        property::not_repeated(&request.properties)?;
        property::timezone(&request.properties)?;
        let properties = properties(&request.properties);
        self.define(Ddl::CreateDatabase { name: request.db_name, properties }).await
    }

    pub(in crate::grpc) async fn drop_database(
        &self,
        _: RequestContext,
        request: DropDatabaseRequest,
    ) -> Result<Status, Error> {
        name::database(&request.db_name)?;
        self.define(Ddl::DropDatabase { name: request.db_name }).await
    }

    pub(in crate::grpc) async fn alter_database(
        &self,
        context: RequestContext,
        request: AlterDatabaseRequest,
    ) -> Result<Status, Error> {
        let name = context.database(&request.db_name).to_owned();
        match (request.properties.is_empty(), request.delete_keys.is_empty()) {
            (true, true) => {
                return Err(refuse::invalid(
                    "alter database with empty properties and delete keys, expected to set either properties \
                     or delete keys",
                ));
            }
            (false, false) => {
                return Err(refuse::invalid(
                    "alter database cannot modify properties and delete keys at the same time",
                ));
            }
            _ => {}
        }
        property::not_repeated(&request.properties)?;
        property::timezone(&request.properties)?;
        let set = properties(&request.properties);
        self.define(Ddl::AlterDatabase { name, set, delete: request.delete_keys }).await
    }

    pub(in crate::grpc) async fn list_databases(
        &self,
        _: RequestContext,
        _: ListDatabasesRequest,
    ) -> Result<ListDatabasesResponse, Error> {
        Ok(self.parts.metadata.read(|metadata| {
            let mut response = ListDatabasesResponse::default();
            for database in metadata.databases.values() {
                response.db_names.push(database.name.clone());
                response.db_ids.push(database.id.0);
                response.created_timestamp.push(database.created_at.0);
            }
            response
        }))
    }

    pub(in crate::grpc) async fn describe_database(
        &self,
        context: RequestContext,
        request: DescribeDatabaseRequest,
    ) -> Result<DescribeDatabaseResponse, Error> {
        let database = self.database(&context, &request.db_name).await?;
        Ok(DescribeDatabaseResponse {
            db_name: database.name.clone(),
            db_id: database.id.0,
            created_timestamp: database.created_at.0,
            properties: pairs(database.properties.clone()),
            ..DescribeDatabaseResponse::default()
        })
    }
}
