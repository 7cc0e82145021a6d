//! What only a store in a directory can show: locks, formats, and a database that was damaged.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use storage::{OpenError, Store, StoreOptions};

use crate::backend::{Backend, OPTIONS, OnDisk, assert_holds, fragment, put_all};

#[test]
fn a_second_open_says_that_the_store_is_locked() {
    let backend = OnDisk::new();
    let store = backend.open();
    let fragments = store.fragments().clone();
    let error = Store::open(backend.path(), OPTIONS).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { directory } if directory == backend.path()));
    assert!(error.to_string().contains("--data-dir"), "{error}");
    drop(store);
    assert!(Store::open(backend.path(), OPTIONS).is_err(), "a part of it is still in use");
    drop(fragments);
    backend.open();
}

/// Names the directory that [`hold_a_store_open`] opens when it is run as a process of its own.
const HOLD: &str = "STORAGE_TEST_HOLD";

/// Does nothing in a normal run: it is the other process of the next test.
#[test]
fn hold_a_store_open() {
    let Some(directory) = std::env::var_os(HOLD) else { return };
    let _store = Store::open(directory.as_ref(), OPTIONS).unwrap();
    println!("\nholding");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn another_process_finds_the_store_locked() {
    let backend = OnDisk::new();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "on_disk_only::hold_a_store_open", "--nocapture"])
        .env(HOLD, backend.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"), "the other process has not opened the store");
    assert!(matches!(Store::open(backend.path(), OPTIONS), Err(OpenError::Locked { .. })));
    other.stdin.take().unwrap().write_all(b"\n").unwrap();
    other.wait().unwrap();
    backend.open();
}

#[test]
fn whatever_happens_to_the_database_the_fragments_stay() {
    type Damage = fn(&Path);
    // Whether sled has to be told that its database is gone; a damaged configuration file it may overlook.
    let damages: [(&str, bool, Damage); 8] = [
        ("conf is rubbish", false, |db| fs::write(db.join("conf"), "rubbish").unwrap()),
        ("conf is longer rubbish", true, |db| fs::write(db.join("conf"), [b'x'; 200]).unwrap()),
        ("conf is empty", false, |db| fs::write(db.join("conf"), "").unwrap()),
        ("conf is gone", false, |db| fs::remove_file(db.join("conf")).unwrap()),
        ("db is empty", true, |db| fs::write(db.join("db"), "").unwrap()),
        ("db is rubbish", true, |db| fs::write(db.join("db"), [0x5A; 300_000]).unwrap()),
        ("db is cut in half", false, |db| {
            let content = fs::read(db.join("db")).unwrap();
            fs::write(db.join("db"), &content[..content.len() / 2]).unwrap();
        }),
        ("everything is gone", true, |db| fs::remove_dir_all(db).unwrap()),
    ];
    for (what, is_lost, damage) in damages {
        let backend = OnDisk::new();
        let fragments: Vec<_> = (0..50).map(|seed| fragment(seed, 700)).collect();
        let store = backend.open();
        put_all(&store, &fragments);
        store.fragments().delete_batch(&[fragments[0].0]).unwrap();
        let id = store.id();
        drop(store);
        damage(&backend.path().join("db"));
        let store = backend.open();
        assert_eq!(store.recovered().is_some(), is_lost, "{what}: {:?}", store.recovered());
        assert_eq!((store.id(), store.starts()), (id, 2));
        assert_holds(&store, &fragments[1..]);
    }
}

#[test]
fn the_database_of_another_store_is_moved_aside() {
    let (backend, other) = (OnDisk::new(), OnDisk::new());
    let (kept, foreign) = (fragment(1, 100), fragment(2, 100));
    put_all(&backend.open(), std::slice::from_ref(&kept));
    put_all(&other.open(), std::slice::from_ref(&foreign));
    fs::remove_dir_all(backend.path().join("db")).unwrap();
    fs::rename(other.path().join("db"), backend.path().join("db")).unwrap();
    let store = backend.open();
    assert!(store.recovered().unwrap().moved_to.as_ref().unwrap().exists());
    assert_holds(&store, std::slice::from_ref(&kept));
    drop(store);
    let store = backend.open();
    assert_eq!(store.recovered(), None);
    assert_holds(&store, &[kept]);
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    let backend = OnDisk::new();
    fs::write(backend.path().join("format"), "mds-store 999 of the future").unwrap();
    let error = Store::open(backend.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(&error, OpenError::WrongFormat { found, .. } if found.contains("999")), "{error}");
    assert!(!backend.path().join("db").exists());
}

#[test]
fn a_path_that_cannot_be_a_directory_is_an_error_that_names_it() {
    let backend = OnDisk::new();
    let path = backend.path().join("file");
    fs::write(&path, "").unwrap();
    let error = Store::open(&path, OPTIONS).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}
