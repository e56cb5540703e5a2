//! What does every step lower?
//!
//! In this order, each where those before are equal: how many copies are where they may not stay; how many bytes
//! are above the threshold of overload; the levels of memory in each scope that is not even, the highest first;
//! the levels of CPU. There are finitely many states, so steps end.

use std::cmp::Reverse;

use crate::BalanceSettings;
use crate::cluster::{Cluster, Resource};
use crate::quantity::Share;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Potential {
    strays: usize,
    overload: u128,
    memory: Vec<Vec<Share>>,
    cpu: Vec<Vec<Share>>,
}

impl Potential {
    pub(crate) fn of(cluster: &Cluster, settings: &BalanceSettings) -> Self {
        let descending = |resource| {
            cluster.scopes().map(move |(_, scope)| {
                let levels = scope.ascending(resource).map(|node| cluster.node(node).level(resource));
                let mut levels: Vec<Share> = levels.collect();
                levels.sort_by_key(|level| Reverse(*level));
                levels
            })
        };
        let goals = cluster.scopes().map(|(_, scope)| {
            let mean = scope.mean(Resource::Memory);
            Share::percent(settings.balance_goal_percentage).amount(mean.0)
        });
        let memory = descending(Resource::Memory).zip(goals).map(|(levels, goal)| {
            let apart = levels.first().zip(levels.last()).map_or(0, |(high, low)| high.0 - low.0);
            if apart > goal { levels } else { Vec::new() }
        });
        let nodes = cluster.scopes().flat_map(|(_, scope)| scope.ascending(Resource::Memory));
        let overload = nodes.map(|node| {
            let node = cluster.node(node);
            u128::from(node.used[0].saturating_sub(settings.overloaded().amount(node.capacity[0])))
        });
        Self {
            strays: cluster.strays().len(),
            overload: overload.sum(),
            memory: memory.collect(),
            cpu: descending(Resource::Cpu).collect(),
        }
    }
}
