//! Which labels does a node wear? Resource groups choose nodes by them.

use std::collections::BTreeMap;

use super::Role;

/// `MILVUS_SERVER_LABEL_<label>` is for every role, `MILVUS_SERVER_LABEL_<role>_<label>` for one, and goes before.
const PREFIX: &str = "MILVUS_SERVER_LABEL_";

/// The labels of a role, from environment variables.
pub(super) fn of(
    role: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let (mut general, mut own) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in environment {
        let Some(label) = name.strip_prefix(PREFIX) else { continue };
        match label.split_once('_').and_then(|(first, rest)| Some((role_of(first)?, rest))) {
            Some((named, label)) if named == role => drop(own.insert(label.to_owned(), value)),
            Some(_) => {}
            None => drop(general.insert(label.to_owned(), value)),
        }
    }
    general.extend(own);
    general
}

/// The role that Milvus takes the word for.
fn role_of(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    match word.as_str() {
        "qn" => Some("querynode"),
        "dn" => Some("datanode"),
        "sn" => Some("streamingnode"),
        _ => Role::ALL.into_iter().map(Role::name).find(|name| *name == word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_general_or_of_a_role() {
        let environment = [
            ("MILVUS_SERVER_LABEL_zone", "a"),
            ("MILVUS_SERVER_LABEL_querynode_zone", "b"),
            ("MILVUS_SERVER_LABEL_qn_RESOURCE_GROUP", "fast"),
            ("MILVUS_SERVER_LABEL_rack_row", "7"),
            ("PATH", "/bin"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let labels = |role| of(role, environment.iter().cloned()).into_iter().collect::<Vec<_>>();
        let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
        assert_eq!(
            labels("querynode"),
            [pair("RESOURCE_GROUP", "fast"), pair("rack_row", "7"), pair("zone", "b")]
        );
        assert_eq!(labels("datanode"), [pair("rack_row", "7"), pair("zone", "a")]);
    }
}
