//! Defaults, file, environment and command line laid over each other, key by key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Settings, check};

/// Prefix that Milvus allows before the name of an environment variable.
const MILVUS_PREFIX: &str = "MILVUS_CONF_";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// The settings file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// What is laid over the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// A settings file; it must exist.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// `(key, value)` pairs of the command line.
    pub command_line: Vec<(String, String)>,
}

/// Settings with the origin of each value, and what was not understood.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    /// The settings.
    pub settings: Settings,
    /// Every key with its value as text and its origin, in alphabetical order.
    pub origins: BTreeMap<String, (String, Origin)>,
    /// Messages about keys that are not known.
    pub warnings: Vec<String>,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error("settings file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML mapping.
    #[error("settings file {path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why, with line and column.
        reason: String,
    },
    /// A value does not fit its key.
    #[error("setting {key} = {value:?} ({origin}): {reason}")]
    Value {
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What is wrong with it.
        reason: String,
    },
    /// The command line names a key that does not exist.
    #[error("unknown setting {key}{hint}")]
    Unknown {
        /// The key.
        key: String,
        /// `, did you mean …?` or nothing.
        hint: String,
    },
}

/// The environment variables that are text.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Lays the overrides over the defaults.
///
/// # Errors
/// An unreadable file, a value that does not fit, an unknown key on the command line. Unknown keys in
/// the file are only warned about: a `milvus.yaml` has many that mean nothing here.
pub(crate) fn load(overrides: &Overrides) -> Result<Effective, LoadError> {
    let mut tree = Tree::defaults();
    let mut warnings = Vec::new();
    if let Some(path) = &overrides.file {
        for (key, value) in read_file(path)? {
            if !tree.set(&key, value, Origin::File(path.clone()))? {
                warnings.push(format!("unknown setting {key} in {}{}", path.display(), tree.hint(&key)));
            }
        }
    }
    for (name, value) in &overrides.environment {
        if let Some(key) = tree.key_of_variable(name) {
            tree.set(&key, Value::String(value.clone()), Origin::Environment(name.clone()))?;
        }
    }
    for (key, value) in &overrides.command_line {
        if !tree.set(key, Value::String(value.clone()), Origin::CommandLine)? {
            return Err(LoadError::Unknown { key: key.clone(), hint: tree.hint(key) });
        }
    }
    match check::flaw(&tree.settings) {
        None => Ok(Effective { settings: tree.settings, origins: tree.leaves, warnings }),
        Some((key, reason)) => {
            let (value, origin) = tree.leaves.remove(key).expect("every setting has an origin");
            Err(LoadError::Value { key: key.to_owned(), value, origin, reason: reason.to_owned() })
        }
    }
}

/// The settings so far, as a tree of values and as the typed whole.
struct Tree {
    values: Value,
    leaves: BTreeMap<String, (String, Origin)>,
    settings: Settings,
}

impl Tree {
    fn defaults() -> Self {
        let settings = Settings::default();
        let values = serde_json::to_value(&settings).expect("settings are plain data with text keys");
        let leaves =
            leaves(&values).into_iter().map(|(key, value)| (key, (text(&value), Origin::Default))).collect();
        Self { values, leaves, settings }
    }

    /// Sets one key; `false` if there is no such key.
    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<bool, LoadError> {
        let Some(known) = self.leaves.keys().find(|known| normalized(known) == normalized(key)).cloned()
        else {
            return Ok(false);
        };
        let shown = text(&value);
        let mut problem = String::new();
        for candidate in [value, typed(&shown)] {
            let mut values = self.values.clone();
            let slot = values
                .pointer_mut(&format!("/{}", known.replace('.', "/")))
                .expect("leaves come from the tree");
            *slot = candidate;
            match serde_json::from_value::<Settings>(values.clone()) {
                Ok(settings) => {
                    (self.settings, self.values) = (settings, values);
                    self.leaves.insert(known, (shown, origin));
                    return Ok(true);
                }
                Err(error) => problem = error.to_string(),
            }
        }
        Err(LoadError::Value { key: known, value: shown, origin, reason: problem })
    }

    /// The key that an environment variable means, if any.
    fn key_of_variable(&self, name: &str) -> Option<String> {
        let bare = name.strip_prefix(MILVUS_PREFIX).unwrap_or(name);
        self.leaves.keys().find(|key| normalized(key) == normalized(bare)).cloned()
    }

    fn hint(&self, key: &str) -> String {
        let wanted = normalized(key);
        let nearest = self.leaves.keys().map(|known| (distance(&normalized(known), &wanted), known)).min();
        match nearest {
            Some((far, known)) if far <= wanted.len() / 3 => format!(", did you mean {known}?"),
            _ => String::new(),
        }
    }
}

/// Milvus compares keys without dots, underscores and case.
fn normalized(key: &str) -> String {
    key.chars()
        .filter(|letter| !matches!(letter, '.' | '_' | '/' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

fn leaves(value: &Value) -> Vec<(String, Value)> {
    let Value::Object(entries) = value else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in entries {
        if value.is_object() {
            found.extend(leaves(value).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
        } else {
            found.push((key.clone(), value.clone()));
        }
    }
    found
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text from the environment or command line as the number or truth value it may stand for.
fn typed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn read_file(path: &Path) -> Result<Vec<(String, Value)>, LoadError> {
    let content =
        std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let syntax = |reason: String| LoadError::Syntax { path: path.to_owned(), reason };
    let value: Value = yaml_serde::from_str(&content).map_err(|error| syntax(error.to_string()))?;
    match value {
        Value::Null => Ok(Vec::new()),
        // A key without a value says nothing: Milvus's own file has such.
        Value::Object(_) => Ok(leaves(&value).into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => Err(syntax("not a mapping of settings".to_owned())),
    }
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn command_line_beats_environment_beats_file_beats_default() {
        let file = file("proxy:\n  port: 1\ncommon:\n  gracefulTime: 3000\nmetrics: {port: 5}\n");
        let overrides = Overrides {
            file: Some(file.path().to_owned()),
            environment: vec![("PROXY_PORT".into(), "2".into()), ("METRICS_PORT".into(), "6".into())],
            command_line: vec![("proxy.port".into(), "3".into())],
        };
        let effective = load(&overrides).unwrap();
        assert_eq!(effective.settings.proxy.port, 3);
        assert_eq!(effective.settings.metrics.port, 6);
        assert_eq!(effective.settings.common.graceful_time, Duration::from_secs(3));
        assert_eq!(effective.origins["proxy.port"], ("3".to_owned(), Origin::CommandLine));
        assert_eq!(effective.origins["metrics.port"].1, Origin::Environment("METRICS_PORT".into()));
        assert_eq!(effective.origins["log.level"].1, Origin::Default);
    }

    #[test]
    fn unknown_keys_name_the_nearest_known_one() {
        let file = file("proxy:\n  prot: 1\npulsar:\n  address: x\n");
        let effective =
            load(&Overrides { file: Some(file.path().to_owned()), ..Overrides::default() }).unwrap();
        assert!(effective.warnings[0].ends_with("did you mean proxy.port?"), "{:?}", effective.warnings);
        assert_eq!(effective.warnings.len(), 2);
    }

    /// Shaped as Milvus's own: keys without values, lists, units in comments, much that means nothing here.
    const STOCK: &str = "\
etcd:
  endpoints: localhost:2379
  auth:
    userName: # no user
localStorage:
  path: /var/lib/data/
proxy:
  ip: # all of them if not said
  port: 19530
  internalPort: 19529
  accessLog:
    formatters:
      base:
        format: '[$time_now] [ACCESS]'
  grpc:
    serverMaxSendSize: 268435456
    serverMaxRecvSize: 67108864
dataCoord:
  segment:
    maxSize: 1024 # MB
    sealProportion: 0.12
    maxIdleTime: 600 # seconds
  gc:
    interval: 3600
    missingTolerance: 86400
    dropTolerance: 10800
log:
  level: info
  file:
    rootPath: # none
  format: text
common:
  gracefulTime: 5000
  session:
    ttl: 30
grpc:
  client:
    compressionEnabled: false
";

    #[test]
    fn a_file_of_milvus_is_taken() {
        let file = file(STOCK);
        let read = Overrides { file: Some(file.path().to_owned()), ..Overrides::default() };
        let settings = load(&read).unwrap().settings;
        assert_eq!(settings.proxy.ip, Settings::default().proxy.ip);
        assert_eq!(settings.data_coord.segment.max_size.0, 1 << 30);
        assert_eq!(settings.data_coord.gc.interval, Duration::from_secs(3600));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let table = [
            ("dataCoord.segment.sealProportion", "0"),
            ("dataCoord.segment.sealProportion", "1.5"),
            ("dataCoord.segment.sealProportion", "nan"),
            ("dataCoord.segment.maxSize", "0"),
            ("dataCoord.gc.interval", "0"),
            ("proxy.grpc.serverMaxRecvSize", "0"),
            ("streamingNode.logFileSize", "0"),
            ("log.level", "loud"),
            ("log.format", "xml"),
        ];
        for (key, value) in table {
            let command_line = vec![(key.to_owned(), value.to_owned())];
            let message = load(&Overrides { command_line, ..Overrides::default() }).unwrap_err().to_string();
            let start = format!("setting {key} = {value:?} (command line): ");
            assert!(message.starts_with(&start), "{message}");
        }
    }

    #[test]
    fn a_bad_value_names_key_value_and_origin() {
        let overrides =
            Overrides { environment: vec![("PROXY_PORT".into(), "high".into())], ..Overrides::default() };
        let message = load(&overrides).unwrap_err().to_string();
        assert!(message.starts_with("setting proxy.port = \"high\" (environment PROXY_PORT): "), "{message}");
    }
}
