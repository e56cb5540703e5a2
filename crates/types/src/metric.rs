//! How the nearness of two vectors is measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A metric over dense vectors, with Milvus's raw values as scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Squared Euclidean distance; smaller is nearer.
    L2,
    /// Inner product; larger is nearer.
    Ip,
    /// Cosine similarity in −1..=1; larger is nearer.
    Cosine,
}

impl Metric {
    /// Whether a larger score means nearer.
    #[must_use]
    pub fn larger_is_nearer(self) -> bool {
        match self {
            Self::L2 => false,
            Self::Ip | Self::Cosine => true,
        }
    }

    /// Milvus's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "L2",
            Self::Ip => "IP",
            Self::Cosine => "COSINE",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not one of a dense metric.
#[derive(Debug, thiserror::Error)]
#[error("metric type {0:?} not supported")]
pub struct ParseMetricError(pub String);

impl FromStr for Metric {
    type Err = ParseMetricError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            "L2" => Ok(Self::L2),
            "IP" => Ok(Self::Ip),
            "COSINE" => Ok(Self::Cosine),
            _ => Err(ParseMetricError(text.to_owned())),
        }
    }
}
