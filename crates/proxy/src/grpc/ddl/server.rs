//! The server itself: hand-shake, version, time, health.

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
                response: self.system_info().to_string(),
                component_name: "proxy".to_owned(),
                ..GetMetricsResponse::default()
            }),
            Some(other) => Err(refuse::invalid(format_args!("metric type {other} is not supported"))),
            None => Err(refuse::invalid("metric_type not found in request")),
        }
    }

    /// The nodes there are, in the shape in which Milvus's tools expect them.
    fn system_info(&self) -> serde_json::Value {
        let (databases, collections, nodes) = self.parts.metadata.read(|metadata| {
            let leaders = metadata.shards.values().map(|shard| shard.node);
            let holders = metadata.held.keys().map(|(node, _)| *node);
            let nodes: std::collections::BTreeSet<_> = leaders.chain(holders).collect();
            (metadata.databases.len(), metadata.collections.len(), nodes)
        });
        let nodes: Vec<_> = nodes
            .iter()
            .map(|node| json!({ "identifier": node.0, "connected": [], "infos": { "id": node.0 } }))
            .collect();
        json!({
            "nodes_info": [{
                "identifier": 0,
                "connected": nodes,
                "infos": {
                    "has_error": false,
                    "error_reason": "",
                    "name": "proxy",
                    "type": "proxy",
                    "system_info": { "system_version": MILVUS_VERSION, "deploy_mode": DEPLOY_MODE },
                    "quota_metrics": null,
                    "num_databases": databases,
                    "num_collections": collections,
                },
            }],
        })
    }
}

/// A key that always exists where a coordinator has ever run; only whether it can be read matters.
const HEALTH_KEY: &str = "db/1";
