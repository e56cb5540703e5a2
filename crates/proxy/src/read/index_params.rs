//! What do the JSON parameters of a search say?

use redkite_service::{Error, RangeBounds, VectorParams};
use redkite_types::Metric;
use serde_json::{Map, Value};

use crate::refuse;

/// Parameters of a search that depend on the index and metric.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexParams(Map<String, Value>);

impl IndexParams {
    /// Reads the JSON object; nothing at all is an empty one.
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        let parsed = serde_json::from_str(json);
        parsed
            .map(Self)
            .map_err(|source| refuse::invalid(format_args!("search params [{json}] is invalid, {source}")))
    }

    /// Whether scores are bounded.
    pub(crate) fn has_radius(&self) -> bool {
        self.0.contains_key("radius")
    }

    /// Whether the near bound alone is given.
    pub(crate) fn has_range_filter(&self) -> bool {
        self.0.contains_key("range_filter")
    }

    /// A text parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Parameters of the vector index.
    pub(crate) fn vector(&self) -> Result<VectorParams, Error> {
        Ok(VectorParams {
            ef: self.whole("ef", i32::MAX.unsigned_abs())?,
            nprobe: self.whole("nprobe", 65_536)?,
        })
    }

    /// The bounds on scores.
    pub(crate) fn range(&self, metric: Metric) -> Result<Option<RangeBounds>, Error> {
        let Some(radius) = self.number("radius")? else {
            return Ok(None);
        };
        let range_filter = self.number("range_filter")?;
        if let Some(near) = range_filter {
            let order =
                if metric.larger_is_nearer() { ("greater", near > radius) } else { ("less", near < radius) };
            if !order.1 {
                return Err(refuse::invalid(format_args!(
                    "metric type {metric}, range_filter({near}) must be {} than radius({radius})",
                    order.0
                )));
            }
        }
        Ok(Some(RangeBounds { radius, range_filter }))
    }

    fn whole(&self, name: &str, largest: u32) -> Result<Option<u32>, Error> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.trim().parse::<i64>().ok(),
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(refuse::invalid(format_args!(
                "Type conflict in json: param '{name}' ({value}) should be integer"
            )));
        };
        match u32::try_from(number) {
            Ok(number) if (1..=largest).contains(&number) => Ok(Some(number)),
            _ => Err(refuse::invalid(format_args!(
                "Out of range in json: param '{name}' ({number}) should be in range [1, {largest}]"
            ))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f32>, Error> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| !number.is_nan()),
            other => other.as_f64(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
        match number {
            Some(number) => Ok(Some(number as f32)),
            None => Err(refuse::invalid(format_args!("param '{name}' ({value}): type must be number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        IndexParams::parse(json).unwrap().vector().unwrap_err().to_string()
    }

    #[test]
    fn numbers_may_be_text_but_not_fractions() {
        let params = IndexParams::parse(r#"{"ef": "32", "nprobe": 8, "other": []}"#).unwrap();
        assert_eq!(params.vector().unwrap(), VectorParams { ef: Some(32), nprobe: Some(8) });
        assert!(
            refusal(r#"{"ef": 32.0}"#).contains("Type conflict in json: param 'ef' (32.0) should be integer")
        );
        assert!(refusal(r#"{"ef": true}"#).contains("param 'ef' (true) should be integer"));
        assert!(refusal(r#"{"ef": null}"#).contains("param 'ef' (null) should be integer"));
        assert!(refusal(r#"{"ef": -1}"#).contains("param 'ef' (-1) should be in range [1, 2147483647]"));
        assert!(refusal(r#"{"nprobe": 65537}"#).contains("(65537) should be in range [1, 65536]"));
    }

    #[test]
    fn bounds_must_enclose_something() {
        let range = |json: &str, metric| IndexParams::parse(json).unwrap().range(metric);
        let both = r#"{"radius": 1, "range_filter": 0.5}"#;
        let bounds = RangeBounds { radius: 1.0, range_filter: Some(0.5) };
        assert_eq!(range(both, Metric::L2).unwrap(), Some(bounds));
        assert!(range(both, Metric::Ip).unwrap_err().to_string().contains("must be greater than radius"));
        let swapped = r#"{"radius": 0.5, "range_filter": 1}"#;
        assert!(range(swapped, Metric::L2).unwrap_err().to_string().contains("must be less than radius"));
        assert!(range("{}", Metric::L2).unwrap().is_none());
        assert!(
            range(r#"{"radius": "nan"}"#, Metric::L2)
                .unwrap_err()
                .to_string()
                .contains("type must be number")
        );
        assert!(
            range(r#"{"radius": [1]}"#, Metric::L2).unwrap_err().to_string().contains("type must be number")
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(IndexParams::parse("[1]").is_err());
        assert!(IndexParams::parse("").unwrap().range(Metric::L2).unwrap().is_none());
    }
}
