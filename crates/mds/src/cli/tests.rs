//! How a command line is read.

use super::*;

fn read(arguments: &[&str]) -> Cli {
    Cli::try_parse_from(std::iter::once("mds").chain(arguments.iter().copied())).unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn endpoints_come_in_several_spellings() {
    let cli = read(&["ls", "--endpoint", "a:1,grpc://b:2", "--endpoint", " c:3 ,"]);
    let endpoints: Vec<String> = cli.endpoints().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["grpc://a:1", "grpc://b:2", "grpc://c:3"]);
}

#[test]
fn an_empty_endpoint_is_the_default_one() {
    let cli = read(&["--endpoint", "", "status"]);
    assert_eq!(cli.endpoints().unwrap()[0].as_str(), DEFAULT_ENDPOINT);
}

#[test]
fn what_cannot_be_dialled_is_a_usage_error() {
    for bad in ["host", "http://host:1", "grpc://host", "grpc://host:0", "grpcs://host:1"] {
        let error = read(&["--endpoint", bad, "status"]).endpoints().unwrap_err();
        assert_eq!(error.code, Code::Usage, "{bad}");
    }
}

#[test]
fn every_command_has_its_alias() {
    assert!(matches!(read(&["upload", "x"]).command, Command::Put(_)));
    assert!(matches!(read(&["download", "x"]).command, Command::Get(_)));
    assert!(matches!(read(&["list"]).command, Command::List(_)));
    assert!(matches!(read(&["stat", "x"]).command, Command::Info(_)));
    assert!(matches!(read(&["delete", "x"]).command, Command::Remove(_)));
}

#[test]
fn only_commands_for_users_are_listed_with_and_without_help() {
    let said = |arguments: &[&str]| {
        let arguments = std::iter::once("mds").chain(arguments.iter().copied()).map(OsString::from);
        Cli::read(arguments).unwrap_err().to_string()
    };
    for arguments in [&[][..], &["--json"], &["--help"]] {
        let text = said(arguments);
        let mut words = text.split(|letter: char| !letter.is_ascii_alphabetic());
        assert!(["put", "man"].iter().all(|name| words.any(|word| word == *name)), "{text}");
        assert!(!text.contains("subcommands: ") || !text.contains("tracker"), "{text}");
        assert!(!text.contains("in this process"), "{text}");
    }
    assert!(!said(&["trackr"]).contains("'tracker'"));
}

#[test]
fn a_range_is_an_offset_and_a_length() {
    assert_eq!("3+4".parse(), Ok(ByteRange(3..7)));
    assert_eq!("0+0".parse(), Ok(ByteRange(0..0)));
    for bad in ["", "3", "+4", "3+", "-1+4", "3++4", "3-4", "18446744073709551615+1", "a+b"] {
        assert!(bad.parse::<ByteRange>().is_err(), "{bad}");
    }
}

#[test]
fn copies_to_wait_for_are_a_number_or_all() {
    assert_eq!("2".parse(), Ok(Wait::Copies(2)));
    assert_eq!("all".parse(), Ok(Wait::All));
    for bad in ["", "0", "-1", "some"] {
        assert!(bad.parse::<Wait>().is_err(), "{bad}");
    }
}

#[test]
fn the_daemons_of_the_demo_take_their_own_flags() {
    let cli = read(&["torrent", "--end-with-stdin", "--id", "t1", "--listen", "127.0.0.1:0"]);
    let Command::Torrent(torrent) = cli.command else { panic!("{cli:?}") };
    assert!(torrent.child.end_with_stdin);
    assert_eq!(torrent.arguments.settings.id.as_deref(), Some("t1"));
}
