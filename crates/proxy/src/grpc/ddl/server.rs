//! The server itself: hand-shake, version, time, health.

use redkite_cluster::SessionInfo;
use redkite_proto::common::{ServerInfo, StateCode};
use redkite_proto::milvus::{
    AllocTimestampRequest, AllocTimestampResponse, CheckHealthRequest, CheckHealthResponse, ComponentInfo,
    ComponentStates, ConnectRequest, ConnectResponse, GetComponentStatesRequest, GetMetricsRequest,
    GetMetricsResponse, GetVersionRequest, GetVersionResponse,
};
use redkite_service::Error;
use serde_json::json;
use tracing::info;

use crate::{Proxy, RequestContext, refuse};

/// The release of Milvus whose protocol is spoken; clients choose features by it.
const MILVUS_VERSION: &str = "3.0.0";
/// Milvus shows its own way of deployment here.
const DEPLOY_MODE: &str = "STANDALONE";

impl Proxy {
    pub(in crate::grpc) async fn connect(
        &self,
        context: RequestContext,
        request: ConnectRequest,
    ) -> Result<ConnectResponse, Error> {
        self.database(&context, "").await?;
        if let Some(client) = &request.client_info {
            let (sdk, version, host) = (&client.sdk_type, &client.sdk_version, &client.host);
            info!(sdk, version, host, "client connected");
        }
        Ok(ConnectResponse {
            server_info: Some(ServerInfo {
                build_tags: MILVUS_VERSION.to_owned(),
                deploy_mode: DEPLOY_MODE.to_owned(),
                ..ServerInfo::default()
            }),
            identifier: self.parts.clock.tick().0.cast_signed(),
            ..ConnectResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_version(
        &self,
        _: RequestContext,
        _: GetVersionRequest,
    ) -> Result<GetVersionResponse, Error> {
        Ok(GetVersionResponse { version: MILVUS_VERSION.to_owned(), ..GetVersionResponse::default() })
    }

    pub(in crate::grpc) async fn alloc_timestamp(
        &self,
        _: RequestContext,
        _: AllocTimestampRequest,
    ) -> Result<AllocTimestampResponse, Error> {
        let timestamp = self.parts.clock.tick().0;
        Ok(AllocTimestampResponse { timestamp, ..AllocTimestampResponse::default() })
    }

    pub(in crate::grpc) async fn check_health(
        &self,
        _: RequestContext,
        _: CheckHealthRequest,
    ) -> Result<CheckHealthResponse, Error> {
        let reachable = self.parts.kv.get(HEALTH_KEY).await;
        Ok(CheckHealthResponse {
            is_healthy: reachable.is_ok(),
            reasons: reachable.err().map(|error| format!("metastore: {error}")).into_iter().collect(),
            ..CheckHealthResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_component_states(
        &self,
        _: RequestContext,
        _: GetComponentStatesRequest,
    ) -> Result<ComponentStates, Error> {
        let state = ComponentInfo {
            role: "proxy".to_owned(),
            state_code: StateCode::Healthy.into(),
            ..ComponentInfo::default()
        };
        Ok(ComponentStates { state: Some(state), ..ComponentStates::default() })
    }

    pub(in crate::grpc) async fn get_metrics(
        &self,
        _: RequestContext,
        request: GetMetricsRequest,
    ) -> Result<GetMetricsResponse, Error> {
        let asked: serde_json::Value = serde_json::from_str(&request.request)
            .map_err(|error| refuse::invalid(format_args!("failed to decode the request, err: {error}")))?;
        match asked.get("metric_type").and_then(serde_json::Value::as_str) {
            Some("system_info") => Ok(GetMetricsResponse {
                response: self.system_info().await?.to_string(),
                component_name: "proxy".to_owned(),
                ..GetMetricsResponse::default()
            }),
            Some(other) => Err(refuse::invalid(format_args!("metric type {other} is not supported"))),
            None => Err(refuse::invalid("metric_type not found in request")),
        }
    }

    /// The processes there are, in the shape in which Milvus's tools expect them.
    async fn system_info(&self) -> Result<serde_json::Value, Error> {
        let sessions = self.parts.kv.range(SESSIONS).await.map_err(Error::internal)?;
        let (databases, collections) =
            self.parts.metadata.read(|metadata| (metadata.databases.len(), metadata.collections.len()));
        let mut nodes = Vec::new();
        for entry in sessions.entries {
            // Active coordinators have a second key, without a number.
            let Ok(info) = SessionInfo::from_value(&entry.key, &entry.value) else { continue };
            if info.key() != entry.key {
                continue;
            }
            let roles: &[&str] = match info.server_name.as_str() {
                "standalone" => &ROLES,
                role => &[role],
            };
            nodes.extend(roles.iter().map(|role| node_info(&info, role)));
        }
        for proxy in nodes.iter_mut().filter(|node| node["infos"]["type"] == "proxy") {
            proxy["infos"]["quota_metrics"] = serde_json::Value::Null;
            proxy["infos"]["num_databases"] = databases.into();
            proxy["infos"]["num_collections"] = collections.into();
        }
        Ok(json!({ "nodes_info": nodes }))
    }
}

fn node_info(info: &SessionInfo, role: &str) -> serde_json::Value {
    let host = info.address.rsplit_once(':').map_or(info.address.as_str(), |(host, _)| host);
    json!({
        "identifier": info.server_id,
        "connected": [],
        "infos": {
            "has_error": false,
            "error_reason": "",
            "name": format!("{role}{}", info.server_id),
            "hardware_infos": { "ip": host },
            "system_info": {
                "system_version": MILVUS_VERSION,
                "build_version": info.version,
                "deploy_mode": DEPLOY_MODE,
            },
            "type": role,
            "id": info.server_id,
        },
    })
}

/// Keys of processes.
const SESSIONS: &str = "session/";
/// What a process is that is everything.
const ROLES: [&str; 7] =
    ["rootcoord", "datacoord", "querycoord", "streamingnode", "querynode", "datanode", "proxy"];
/// A key that always exists where a coordinator has ever run; only whether it can be read matters.
const HEALTH_KEY: &str = "db/1";
