//! The tables of settings in `docs/configuration.md` are those of the daemons.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use daemon::config::{Setting, reference};

fn row(setting: &Setting, default: Option<&str>) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let default = default.map_or_else(String::new, |default| format!("`{}`", cell(default)));
    let Setting { key, flag, variable, help, .. } = setting;
    format!("| `{key}` | `{}` | `{variable}` | {default} | {} |\n", cell(flag), cell(help))
}

fn table(settings: &[Setting], others: &[Setting]) -> String {
    let mut table = "| key | flag | environment | default | |\n|---|---|---|---|---|\n".to_owned();
    for setting in settings {
        let other = others.iter().find(|other| other.key == setting.key).unwrap_or(setting);
        let default = match (&setting.default, &other.default) {
            (Some(one), Some(other)) if one != other => Some(format!("{one} (torrent: {other})")),
            (default, _) => default.clone(),
        };
        table.push_str(&row(setting, default.as_deref()));
    }
    table
}

/// The page with a table between each pair of marks.
fn page_with(page: &str, tables: &[(&str, String)]) -> String {
    let mut page = page.to_owned();
    for (name, table) in tables {
        let begin = format!("<!-- {name} -->\n");
        let (before, rest) = page.split_once(&begin).expect("the page has the mark");
        let (_, after) = rest.split_once("<!-- end -->").expect("the page has the end of the table");
        page = format!("{before}{begin}{table}<!-- end -->{after}");
    }
    page
}

#[test]
fn the_settings_in_the_documents_are_those_of_the_daemons() {
    let tracker = reference(&tracker::config::Settings::default().in_use());
    let torrent = reference(&torrent::config::Settings::default().in_use());
    let keys = |settings: &[Setting]| settings.iter().map(|s| s.key.clone()).collect::<BTreeSet<String>>();
    let both: BTreeSet<String> = keys(&tracker).intersection(&keys(&torrent)).cloned().collect();
    let split = |settings: Vec<Setting>| -> (Vec<Setting>, Vec<Setting>) {
        settings.into_iter().partition(|setting| both.contains(&setting.key))
    };
    let ((common, tracker), (of_torrent, torrent)) = (split(tracker), split(torrent));
    let tables = [
        ("both", table(&common, &of_torrent)),
        ("tracker", table(&tracker, &[])),
        ("torrent", table(&torrent, &[])),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let right = page_with(&page, &tables);
    if env::var_os("MDS_UPDATE_GOLDEN").is_some() {
        fs::write(&path, right).unwrap();
    } else {
        assert!(
            page == right,
            "docs/configuration.md is not what the code says: run again with MDS_UPDATE_GOLDEN=1"
        );
    }
}
