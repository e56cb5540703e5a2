//! Aliases.

use redkite_catalog::{Metadata, NameRecord, Record};
use redkite_proto::common::Status;
use redkite_proto::milvus::{
    AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DescribeAliasResponse, DropAliasRequest,
    ListAliasesRequest, ListAliasesResponse,
};
use redkite_service::{Ddl, Error};

use crate::define::name;
use crate::{Proxy, RequestContext};

impl Proxy {
    pub(in crate::grpc) async fn create_alias(
        &self,
        context: RequestContext,
        request: CreateAliasRequest,
    ) -> Result<Status, Error> {
        name::alias(&request.alias)?;
        let collection = self.own_name(&context, &request.db_name, request.collection_name).await?;
        let database = context.database(&request.db_name).to_owned();
        self.define(Ddl::CreateAlias { database, collection, alias: request.alias }).await
    }

    pub(in crate::grpc) async fn alter_alias(
        &self,
        context: RequestContext,
        request: AlterAliasRequest,
    ) -> Result<Status, Error> {
        name::alias(&request.alias)?;
        let collection = self.own_name(&context, &request.db_name, request.collection_name).await?;
        let database = context.database(&request.db_name).to_owned();
        self.define(Ddl::AlterAlias { database, collection, alias: request.alias }).await
    }

    pub(in crate::grpc) async fn drop_alias(
        &self,
        context: RequestContext,
        request: DropAliasRequest,
    ) -> Result<Status, Error> {
        let database = context.database(&request.db_name).to_owned();
        self.define(Ddl::DropAlias { database, alias: request.alias }).await
    }

    pub(in crate::grpc) async fn describe_alias(
        &self,
        context: RequestContext,
        request: DescribeAliasRequest,
    ) -> Result<DescribeAliasResponse, Error> {
        name::alias(&request.alias)?;
        let database = self.database(&context, &request.db_name).await?;
        let key = (database.id, request.alias.clone());
        let look = |metadata: &Metadata| match &*metadata.names.get(&key)?.record {
            NameRecord::Alias(id) => Some(metadata.collections.get(id)?.name.clone()),
            NameRecord::Collection(_) => None,
        };
        let named = self.find(&NameRecord::key(&key), look).await?;
        let collection = named.ok_or_else(|| Error::AliasNotFound {
            database: database.name.clone(),
            alias: request.alias.clone(),
        })?;
        Ok(DescribeAliasResponse {
            db_name: database.name.clone(),
            alias: request.alias,
            collection,
            ..DescribeAliasResponse::default()
        })
    }

    pub(in crate::grpc) async fn list_aliases(
        &self,
        context: RequestContext,
        request: ListAliasesRequest,
    ) -> Result<ListAliasesResponse, Error> {
        let database = self.database(&context, &request.db_name).await?;
        let collection = match request.collection_name.as_str() {
            "" => None,
            name => {
                name::collection(name)?;
                Some(self.collection(&context, &request.db_name, name).await?)
            }
        };
        let aliases = self.parts.metadata.read(|metadata| {
            let of = |id| collection.as_ref().is_none_or(|collection| collection.id == id);
            metadata
                .names_in(database.id)
                .filter(|(_, named)| matches!(named, NameRecord::Alias(id) if of(*id)))
                .map(|(name, _)| name.to_owned())
                .collect()
        });
        Ok(ListAliasesResponse {
            db_name: database.name.clone(),
            collection_name: collection.map(|found| found.name.clone()).unwrap_or_default(),
            aliases,
            ..ListAliasesResponse::default()
        })
    }

    /// The collection's own name if an alias is given; other names are for the coordinator to judge.
    async fn own_name(
        &self,
        context: &RequestContext,
        database: &str,
        name: String,
    ) -> Result<String, Error> {
        name::collection(&name)?;
        match self.collection(context, database, &name).await {
            Ok(collection) => Ok(collection.name.clone()),
            Err(Error::CollectionNotFound { .. }) => Ok(name),
            Err(error) => Err(error),
        }
    }
}
