//! Which configurations may a resource group have?

use redkite_catalog::ResourceGroupConfig;
use redkite_proto::rg;
use redkite_service::Error;

/// The configuration that a client sent; what it says of other groups is for the coordinator to check.
pub(crate) fn config(name: &str, sent: &rg::ResourceGroupConfig) -> Result<ResourceGroupConfig, Error> {
    let illegal = |reason: &str| Error::ResourceGroupIllegalConfig {
        group: name.to_owned(),
        config: shown(sent),
        reason: reason.to_owned(),
    };
    let (Some(requests), Some(limits)) = (&sent.requests, &sent.limits) else {
        return Err(illegal("requests or limits is required"));
    };
    let (Ok(requests), Ok(limits)) = (u32::try_from(requests.node_num), u32::try_from(limits.node_num))
    else {
        return Err(illegal("node num in `requests` or `limits` should not less than 0"));
    };
    if limits < requests {
        return Err(illegal("limits node num should not less than requests node num"));
    }
    let groups = |sent: &[rg::ResourceGroupTransfer]| -> Vec<String> {
        sent.iter().map(|transfer| transfer.resource_group.clone()).collect()
    };
    let (transfer_from, transfer_to) = (groups(&sent.transfer_from), groups(&sent.transfer_to));
    for (list, groups) in [("TransferFrom", &transfer_from), ("TransferTo", &transfer_to)] {
        if groups.iter().any(|group| group == name) {
            return Err(illegal(&format!("resource group in `{list}` {name} should not be itself")));
        }
    }
    let labels = sent.node_filter.iter().flat_map(|filter| &filter.node_labels);
    let node_labels = labels.map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    Ok(ResourceGroupConfig { requests, limits, transfer_from, transfer_to, node_labels })
}

fn shown(sent: &rg::ResourceGroupConfig) -> String {
    let part = |name: &str, limit: &Option<rg::ResourceGroupLimit>| {
        limit.as_ref().map(|limit| format!("{name}:{{node_num:{}}}", limit.node_num))
    };
    let parts = [part("requests", &sent.requests), part("limits", &sent.limits)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(requests: i32, limits: i32) -> rg::ResourceGroupConfig {
        let limit = |node_num| Some(rg::ResourceGroupLimit { node_num });
        rg::ResourceGroupConfig { requests: limit(requests), limits: limit(limits), ..Default::default() }
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(config("g", &sent(1, 2)).unwrap().limits, 2);
        let refusal = |sent: &rg::ResourceGroupConfig| config("g", sent).unwrap_err().to_string();
        assert_eq!(
            refusal(&sent(2, 1)),
            "limits node num should not less than requests node num: resource group illegal \
             config[rg=g][config=requests:{node_num:2} limits:{node_num:1}]"
        );
        assert!(refusal(&sent(-1, 1)).starts_with("node num in `requests` or `limits` should not less"));
        assert!(refusal(&rg::ResourceGroupConfig::default()).starts_with("requests or limits is required"));
        let to_itself = vec![rg::ResourceGroupTransfer { resource_group: "g".to_owned() }];
        let itself = rg::ResourceGroupConfig { transfer_to: to_itself, ..sent(0, 1) };
        assert!(refusal(&itself).starts_with("resource group in `TransferTo` g should not be itself"));
    }
}
