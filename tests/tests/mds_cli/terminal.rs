//! What shows on a terminal and nowhere else: colours, progress, short digests, as much of the map as there is room for.

use mds_tests::needs_mosquitto;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::task::spawn_blocking;

use crate::content::bytes;
use crate::kit::{FRAGMENT_BYTES, Mds, Network};

/// Where the tool finds a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

/// Runs the tool with a terminal in one place, and gives all that the terminal shows.
async fn on_terminal(mds: Mds, stream: Stream, columns: u16) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let open = || -> File { OpenOptions::new().read(true).write(true).open(&path).unwrap() };
    let mut command = mds.env("TERM", "xterm").into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match stream {
        Stream::Output => command.stdout(open()),
        Stream::Error => command.stderr(open()),
    };
    let mut child = command.spawn().unwrap();
    // The terminal ends when nobody has it open any more.
    drop(command);
    let shown = spawn_blocking(move || {
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        let mut terminal = File::from(terminal);
        while let Ok(read) = terminal.read(&mut buffer)
            && read > 0
        {
            shown.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let shown = shown.await.unwrap();
    child.wait().await.unwrap();
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_and_progress_are_for_terminals_only() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    let file = network.put(&network.write("map", &bytes(200 * FRAGMENT_BYTES, 1))).await;
    let status = || network.mds().arg("status");
    let green = "\u{1b}[32mok\u{1b}[0m: every fragment";
    assert!(on_terminal(status(), Stream::Output, 80).await.starts_with(green));
    for told in [status().env("NO_COLOR", "1"), status().arg("--json")] {
        let shown = on_terminal(told, Stream::Output, 80).await;
        assert!(!shown.contains('\u{1b}') && shown.contains("ok"), "{shown}");
    }
    let piped = status().run().await;
    assert!(piped.succeeded().starts_with("ok: "), "{piped:?}");

    let get = || network.mds().args(["get", "map", "-f", "-o", "copy"]);
    let shown = on_terminal(get(), Stream::Error, 80).await;
    assert!(shown.contains("copy") && shown.contains("MiB") && shown.contains("/s"), "{shown:?}");
    assert_eq!(on_terminal(get().arg("--json"), Stream::Error, 80).await, "");
    assert_eq!(get().run().await.stderr, "");

    // Digests are short where a person reads them.
    let listed = on_terminal(network.mds().arg("ls"), Stream::Output, 80).await;
    assert!(listed.contains(&file[..12]) && !listed.contains(&file), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_of_a_file_is_as_wide_as_the_terminal_and_in_ascii_where_it_must() {
    needs_mosquitto!();
    let network = Network::start(2).await;
    network.put(&network.write("map", &bytes(200 * FRAGMENT_BYTES, 1))).await;
    let info = || network.mds().args(["info", "map"]);
    let drawn = |shown: &str, mark: char| {
        let line = shown.lines().find(|line| line.trim_start().starts_with("t1 ")).unwrap().to_owned();
        (line.chars().filter(|letter| *letter == mark).count(), line.trim_end().chars().count())
    };
    let (narrow, narrow_line) = drawn(&on_terminal(info(), Stream::Output, 80).await, '█');
    let (wide, wide_line) = drawn(&on_terminal(info(), Stream::Output, 100).await, '█');
    assert_eq!(wide, narrow + 20);
    assert!(narrow_line <= 80 && wide_line <= 100, "{narrow_line} {wide_line}");
    assert_eq!(drawn(info().run().await.succeeded(), '█').0, 40);
    let plain = info().env("LC_ALL", "C").run().await;
    assert!(plain.succeeded().is_ascii(), "{plain:?}");
    assert_eq!(drawn(plain.succeeded(), '#').0, 40);
}
