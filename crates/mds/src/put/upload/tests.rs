//! How a content is cut into messages.

use super::*;

const FRAGMENT_BYTES: u64 = 3 << 19;

fn messages(mut content: Content, start: u64) -> (Vec<WriteFragmentsRequest>, Written) {
    assert!(content.rewind(start).unwrap());
    let upload = proto::Upload {
        name: "uploads/x".into(),
        fragment_size_bytes: FRAGMENT_BYTES as i64,
        ..proto::Upload::default()
    };
    let (sender, mut receiver) = mpsc::channel(1000);
    let written = write_messages(content, &upload, &sender, &ProgressBar::hidden());
    drop(sender);
    let mut messages = Vec::new();
    while let Ok(message) = receiver.try_recv() {
        messages.push(message);
    }
    (messages, written)
}

/// Offset in the file, offset in the fragment, length, whether it is the fragment's last.
fn shape(messages: &[WriteFragmentsRequest]) -> Vec<(Option<i64>, i64, usize, bool)> {
    let shape = |m: &WriteFragmentsRequest| (m.file_offset, m.write_offset, m.data.len(), m.finish_fragment);
    messages.iter().map(shape).collect()
}

fn stream(size_bytes: u64) -> Content {
    Content::of_stream(std::io::Read::take(std::io::repeat(7), size_bytes))
}

#[test]
fn a_message_never_reaches_into_the_next_fragment() {
    let (messages, written) = messages(stream(FRAGMENT_BYTES + 1), 0);
    assert_eq!(
        shape(&messages),
        [
            (Some(0), 0, 1 << 20, false),
            (None, 1 << 20, 1 << 19, true),
            (Some(FRAGMENT_BYTES as i64), 0, 1, true),
        ]
    );
    assert_eq!(messages.iter().map(|m| m.upload.as_str()).collect::<Vec<_>>(), ["uploads/x", "", ""]);
    assert!(written.ended.unwrap());
}

#[test]
fn the_last_fragment_is_finished_wherever_the_file_ends() {
    for size_bytes in [1, 1 << 20, (1 << 20) + 1, FRAGMENT_BYTES, 2 * FRAGMENT_BYTES] {
        let (messages, written) = messages(stream(size_bytes), 0);
        assert!(messages.last().unwrap().finish_fragment, "{size_bytes}");
        assert_eq!(messages.iter().map(|m| m.data.len() as u64).sum::<u64>(), size_bytes);
        assert!(written.ended.unwrap());
    }
}

#[test]
fn an_empty_file_has_no_message() {
    let (messages, written) = messages(stream(0), 0);
    assert_eq!(messages, []);
    assert!(written.ended.unwrap());
}

#[test]
fn a_stream_is_written_in_segments_that_are_kept() {
    let (sent, written) = messages(stream(SEGMENT_BYTES + 5), 0);
    let sent_bytes: u64 = sent.iter().map(|m| m.data.len() as u64).sum();
    assert_eq!(sent_bytes, SEGMENT_BYTES / FRAGMENT_BYTES * FRAGMENT_BYTES);
    assert!(sent.last().unwrap().finish_fragment && !written.ended.as_ref().unwrap());
    let mut content = written.content;
    content.release(sent_bytes);
    let (rest, written) = messages(content, sent_bytes);
    assert_eq!(rest.first().unwrap().file_offset, Some(sent_bytes as i64));
    assert!(written.ended.unwrap());
}

#[test]
fn a_broker_is_waited_for_as_long_as_the_file_would_take_again() {
    let minute = Duration::from_secs(60);
    assert_eq!(patience(minute), minute);
    assert_eq!(patience(minute * 600), LONGEST_PATIENCE);
}

#[test]
fn pauses_grow_and_end() {
    assert_eq!(pause(0, LONGEST_PAUSE), FIRST_PAUSE);
    assert_eq!(pause(u32::MAX, LONGEST_PAUSE), LONGEST_PAUSE);
}
