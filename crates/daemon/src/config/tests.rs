//! What is told where, and what comes of it.

use std::path::Path;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Parser, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonSettings,
    #[arg(long, env = "MDS_TEST_COPIES")]
    copies: Option<String>,
    /// How many.
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

const DEFAULTS: Defaults = Defaults { data_dir: "d", listen: "127.0.0.1:0", http: "off" };

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The settings of a command line over a file.
fn loaded(text: &str, flags: &[&str]) -> (Loaded<Settings>, String) {
    let file = file(text);
    let command = Settings::command();
    let matches = command.clone().get_matches_from(std::iter::once("tracker").chain(flags.iter().copied()));
    let origins = Origins::of(&command, &matches);
    let settings = Settings::from_arg_matches(&matches).unwrap();
    (load(Some(file.path()), &settings, &origins).unwrap(), file.path().display().to_string())
}

/// What is wrong with a file, without its path.
fn mistake(text: &str) -> String {
    let file = file(text);
    let error = load(Some(file.path()), &Settings::default(), &Origins::default()).unwrap_err().to_string();
    let path = file.path().display().to_string();
    assert!(error.starts_with(&path), "{error}");
    error[path.len()..].to_owned()
}

#[test]
fn flags_win_over_the_file() {
    let text = "copies = \"3\"\nlisten = \"127.0.0.1:1\"\nretry_connect = true\n";
    let (Loaded { settings, origins }, path) = loaded(text, &["--listen", "127.0.0.1:2"]);
    assert_eq!(settings.copies.as_deref(), Some("3"));
    assert_eq!(settings.common.listen.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(settings.common.retry_connect, Some(true));
    assert_eq!(origins.get("listen"), Some(&Origin::Flag("--listen".into())));
    assert_eq!(origins.get("retry_connect"), Some(&Origin::File { path: path.into(), line: 3 }));
    assert_eq!(origins.get("http"), None);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
    assert_eq!(
        mistake("\ncopys = \"3\"\n"),
        ", line 2: there is no setting \"copys\"; did you mean \"copies\"?"
    );
    assert_eq!(
        mistake("data-dir = 3\n"),
        ", line 1: there is no setting \"data-dir\"; did you mean \"data_dir\"?"
    );
    assert_eq!(mistake("[broker]\n"), ", line 1: broker: invalid type: map, expected a string");
    let nothing_like_it = mistake("number = 1\nxyzzy = 3\n");
    assert!(
        nothing_like_it.starts_with(", line 2: there is no setting \"xyzzy\"; --print-config"),
        "{nothing_like_it}"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line_and_key() {
    let wrong = mistake("copies = \"2\"\n# more\nnumber = \"three\"\n");
    assert_eq!(wrong, ", line 3: number: invalid type: string \"three\", expected u64");
    let in_the_common_ones = mistake("retry_connect = 1\n");
    assert_eq!(in_the_common_ones, ", line 1: retry_connect: invalid type: integer `1`, expected a boolean");
}

#[test]
fn what_is_not_toml_is_refused_with_its_line_and_without_its_text() {
    for text in
        ["copies = \"2\"\nbroker = \"mqtt://me:secret@h\n", "copies = \"2\"\nbroker = mqtt://me:secret@h\n"]
    {
        let broken = mistake(text);
        assert!(broken.starts_with(", line 2: this is not TOML") && !broken.contains("secret"), "{broken}");
    }
    assert!(mistake("copies = \"2\"\ncopies = \"3\"\n").starts_with(", line 2: "));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = load(Some(Path::new("/nonexistent/x.toml")), &Settings::default(), &Origins::default());
    assert!(missing.unwrap_err().to_string().contains("/nonexistent/x.toml cannot be read"));
}

#[test]
fn a_bad_value_says_which_where_it_comes_from_and_what_to_write() {
    let bad = |text: &str, flags: &[&str]| {
        let (Loaded { settings, origins }, path) = loaded(text, flags);
        let error = origins.explain(settings.common.complete(DEFAULTS).unwrap_err()).to_string();
        error.replace(&path, "FILE")
    };
    let in_file = bad("\nlisten = \"nonsense\"", &[]);
    assert!(in_file.starts_with("listen = \"nonsense\" (file FILE, line 2): "), "{in_file}");
    assert!(in_file.contains("127.0.0.1:7401"), "{in_file}");
    let in_flag = bad("", &["--scrub-interval", "soon"]);
    assert!(in_flag.starts_with("scrub_interval = \"soon\" (flag --scrub-interval): "), "{in_flag}");
}

#[test]
fn each_value_is_printed_with_its_origin_and_can_be_read_again() {
    let text = "topic_prefix = \"plant # 1\"\nbroker = \"mqtt://me:secret@host:1883\"\n";
    let (Loaded { settings, origins }, path) = loaded(text, &["--copies", "all"]);
    let in_use = Settings { common: settings.common.clone().in_use(DEFAULTS), ..settings };
    let printed = print(&in_use, &origins);
    let line = |key: &str| printed.lines().find(|line| line.contains(key)).unwrap().replace(&path, "FILE");
    assert!(line("copies =").ends_with("# flag --copies"), "{printed}");
    assert!(line("topic_prefix").ends_with("# file FILE, line 1"), "{printed}");
    assert!(line("listen").ends_with("# default"), "{printed}");
    assert_eq!(line("broker_ca"), "# broker_ca is not set");
    assert!(line("broker =").starts_with("broker = \"mqtt://me:***@host:1883\" "), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), in_use);
}

#[test]
fn the_reference_has_every_setting_with_flag_variable_and_default() {
    let all =
        reference(&Settings { common: CommonSettings::default().in_use(DEFAULTS), ..Settings::default() });
    let listen = all.iter().find(|setting| setting.key == "listen").unwrap();
    assert_eq!((listen.flag.as_str(), listen.variable.as_str()), ("--listen ADDR", "MDS_LISTEN"));
    assert_eq!(listen.default.as_deref(), Some("\"127.0.0.1:0\""));
    let number = all.iter().find(|setting| setting.key == "number").unwrap();
    assert_eq!((number.default.as_deref(), number.help.as_str()), (None, "How many"));
}

#[test]
fn a_broker_url_that_cannot_be_used_does_not_tell_its_password() {
    for url in ["mqtt://me:secret@host:99999", "mqt://me:secret@host", "mqtt://me:secret@host/topic"] {
        let bad = CommonSettings { broker: Some(url.into()), ..CommonSettings::default() };
        let error = bad.complete(DEFAULTS).unwrap_err().to_string();
        assert!(error.contains("broker") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn the_help_does_not_tell_what_the_environment_says_of_the_broker() {
    let command = Settings::command();
    let broker = command.get_arguments().find(|argument| argument.get_id() == "broker").unwrap();
    assert!(broker.is_hide_env_values_set());
}
