//! Layers one source over the other.
//!
//! `config` joins defaults and file. Its own environment source writes all keys in lower case, which would rename models
//! and tenants, so variables are put into the joined tree here, before it is typed.

use std::{fs, path::Path};

use config::{Config, File, FileFormat};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::RpcError;

/// Reads `T`: its defaults, then the YAML file, then environment variables `PREFIX__SECTION__KEY`.
///
/// A variable's value is read as YAML (`[a, b]` is a list) where the key takes one, else as a string. Parts of its
/// name are matched to known keys whatever their case; unknown parts are taken in lower case.
///
/// # Errors
/// The file can't be read, or a value is of the wrong type or of an unknown key; the error names source and key.
pub fn load<T>(prefix: &str, file: Option<&Path>) -> Result<T, RpcError>
where
    T: Serialize + DeserializeOwned + Default,
{
    // Names that are not UTF-8 can't be ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    load_from(prefix, file, variables)
}

/// The effective configuration as YAML; secrets are masked.
///
/// # Errors
/// `T` has parts that YAML can't hold.
pub fn to_yaml<T: Serialize>(config: &T) -> Result<String, RpcError> {
    serde_saphyr::to_string(config).map_err(|error| of("print", error))
}

pub(super) fn load_from<T>(
    prefix: &str,
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, RpcError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let defaults = serde_json::to_string(&T::default()).map_err(|error| of("defaults", error))?;
    let mut layers = Config::builder().add_source(File::from_str(&defaults, FileFormat::Json));
    let mut origin = "defaults".to_owned();
    if let Some(path) = file {
        let text = fs::read_to_string(path)
            .map_err(|source| RpcError::ReadFile { path: path.to_owned(), source })?;
        layers = layers.add_source(File::from_str(&text, FileFormat::Yaml));
        origin = path.display().to_string();
    }
    let mut tree: Value =
        layers.build().and_then(Config::try_deserialize).map_err(|error| of(&origin, error))?;
    let start = format!("{prefix}__");
    let mut variables: Vec<_> = variables
        .filter_map(|(name, text)| {
            let path = name.strip_prefix(&start)?.split("__").map(str::to_owned).collect();
            let yaml = serde_saphyr::from_str(&text).ok().filter(|value: &Value| !value.is_string());
            Some(Variable { path, yaml, text, name })
        })
        .collect();
    // The order of the environment is arbitrary; what it leads to should not be.
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    for variable in &mut variables {
        let value = variable.yaml.clone().unwrap_or_else(|| Value::String(variable.text.clone()));
        set(&mut tree, &mut variable.path, value);
    }
    loop {
        let error = match serde_path_to_error::deserialize(&tree) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let at = error.path().to_string();
        let culprit = variables.iter_mut().find(|variable| variable.covers(&at));
        // `007` may be a number or a name: the type of the key decides, and typing is the only way to ask for it.
        if let Some(variable) = culprit {
            if variable.yaml.take().is_some() {
                set(&mut tree, &mut variable.path, Value::String(variable.text.clone()));
                continue;
            }
            origin = format!("environment variable {}", variable.name);
        }
        let place = if at == "." { String::new() } else { format!("{at}: ") };
        return Err(RpcError::Config { origin, message: format!("{place}{}", error.inner()) });
    }
}

struct Variable {
    name: String,
    path: Vec<String>,
    text: String,
    /// Its value if that is not a string in YAML and has not been found to be one.
    yaml: Option<Value>,
}

impl Variable {
    /// An error at this place may come from the variable.
    fn covers(&self, place: &str) -> bool {
        let rest = place.strip_prefix(&self.path.join("."));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

/// Puts a value at a path, whose parts are corrected to the spelling of the keys that exist.
fn set(tree: &mut Value, path: &mut [String], value: Value) {
    let Some((part, rest)) = path.split_first_mut() else {
        return *tree = value;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(map) = tree {
        let known = map.keys().find(|key| key.eq_ignore_ascii_case(part)).cloned();
        *part = known.unwrap_or_else(|| part.to_ascii_lowercase());
        set(map.entry(part.as_str()).or_insert(Value::Null), rest, value);
    }
}

fn of(origin: &str, error: impl ToString) -> RpcError {
    RpcError::Config { origin: origin.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write as _, path::Path};

    use serde::{Deserialize, Serialize};

    use super::{load_from, to_yaml};
    use crate::config::{Secret, ServerConfig};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        server: ServerConfig,
        name: String,
        models: Vec<String>,
        routes: BTreeMap<String, Route>,
        key: Option<Secret>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Route {
        weight: u32,
        note: Option<String>,
    }

    impl Default for Config {
        fn default() -> Self {
            let server = ServerConfig { listen: ([127, 0, 0, 1], 50052).into(), ..ServerConfig::default() };
            Self { server, name: "x".into(), models: vec!["m".into()], routes: BTreeMap::new(), key: None }
        }
    }

    fn read(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
        let variables = variables.iter().map(|(name, value)| (format!("T__{name}"), (*value).to_owned()));
        load_from("T", Some(file.path()), variables).map_err(|error| error.to_string())
    }

    #[test]
    fn environment_beats_file_beats_defaults() {
        let yaml = "server: {request_timeout: 5s, max_request_bytes: 10}\nname: file";
        let config = read(yaml, &[("SERVER__MAX_REQUEST_BYTES", "11"), ("NAME", "007")]).unwrap();
        assert_eq!(config.server.listen.port(), 50052);
        assert_eq!(config.server.request_timeout.as_secs(), 5);
        assert_eq!(config.server.max_request_bytes, 11);
        assert_eq!(config.name, "007");
        assert_eq!(config.models, ["m"]);
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(read("# nothing\n", &[]).unwrap(), Config::default());
    }

    #[test]
    fn values_are_typed_by_their_key() {
        let variables = [
            ("SERVER__ADMIN_LISTEN", "[::1]:9000"),
            ("MODELS", "[a, b]"),
            ("SERVER__TLS__CERTIFICATE", "/c"),
            ("SERVER__TLS__KEY", "/k"),
        ];
        assert!(read("", &variables[2..3]).unwrap_err().contains("server.tls"));
        let config = read("", &variables).unwrap();
        assert_eq!(config.server.admin_listen.unwrap().port(), 9000);
        assert_eq!(config.models, ["a", "b"]);
        assert_eq!(config.server.tls.unwrap().key, Path::new("/k"));
        assert_eq!(
            read("server: {admin_listen: 1.2.3.4:1}", &[("SERVER__ADMIN_LISTEN", "null")])
                .unwrap()
                .server
                .admin_listen,
            None
        );
    }

    #[test]
    fn map_keys_keep_their_case() {
        let yaml = "routes: {Org/Model-1.v2: {weight: 1}}";
        let config = read(yaml, &[("ROUTES__ORG/MODEL-1.V2__WEIGHT", "2")]).unwrap();
        assert_eq!(config.routes["Org/Model-1.v2"].weight, 2);
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn unknown_keys_and_wrong_types_name_key_and_source() {
        let error = read("server: {lisen: 1}", &[]).unwrap_err();
        assert!(error.contains("server") && error.contains("`lisen`"), "{error}");
        let error = read("routes: {a: {weight: much}}", &[]).unwrap_err();
        assert!(error.contains("routes.a.weight"), "{error}");
        let error = read("", &[("SERVER__LISEN", "1")]).unwrap_err();
        assert!(error.contains("T__SERVER__LISEN") && error.contains("`lisen`"), "{error}");
        let error = read("", &[("SERVER__MAX_REQUEST_BYTES", "many")]).unwrap_err();
        assert!(error.contains("T__SERVER__MAX_REQUEST_BYTES"), "{error}");
        let error =
            load_from::<Config>("T", Some(Path::new("/nowhere.yaml")), std::iter::empty()).unwrap_err();
        assert!(error.to_string().contains("/nowhere.yaml"));
    }

    #[test]
    fn printed_configuration_masks_secrets_and_can_be_read_again() {
        let config = read("", &[("KEY", "sesame")]).unwrap();
        assert_eq!(config.key.as_ref().unwrap().expose(), "sesame");
        let yaml = to_yaml(&config).unwrap();
        assert!(!yaml.contains("sesame") && !format!("{config:?}").contains("sesame"), "{yaml}");
        assert_eq!(read(&yaml, &[]).unwrap().server, config.server);
    }
}
