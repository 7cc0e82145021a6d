//! `mds info`: one file, and where it is.

use std::collections::BTreeMap;

use endpoint::client::{Cluster, FileMap};

use crate::cli::Info;
use crate::describe::FileDetail;
use crate::exit::Failure;
use crate::output::{Output, count, printable, size};
use crate::reference::resolve;
use crate::terminal::{self, Colour, coloured};

/// How many characters stand for the file from its beginning to its end, where no terminal says how many there is room for.
const MAP_WIDTH: usize = 40;
/// Fewer say nothing.
const MIN_MAP_WIDTH: usize = 8;
const MAX_MAP_WIDTH: usize = 120;

/// What stands for a part of the file of which all fragments are held, some, none.
type Marks = [char; 3];
const UNICODE: Marks = ['█', '▒', '·'];
const ASCII: Marks = ['#', '+', '.'];

/// Shows the file.
pub async fn run(cluster: &Cluster, info: &Info, output: Output) -> Result<(), Failure> {
    let hash = resolve(cluster, &info.reference).await?;
    let map = cluster.file_map(&hash).await?;
    let detail = FileDetail::of(&map);
    if output.json {
        return output.value(&detail);
    }
    let file = &detail.file;
    output.line(&format!("digest     {}", file.digest))?;
    output.line(&format!("name       {}", file.shown_name()))?;
    output.line(&format!("size       {} ({} bytes)", size(file.size_bytes), file.size_bytes))?;
    let state = coloured(file.state, Colour::of_state(file.state));
    output.line(&format!("state      {state}: {} of {} copies", file.copies, file.target_copies))?;
    output.line(&format!("fragments  {}", file.fragment_count))?;
    holder_lines(&map).iter().try_for_each(|line| output.line(line))
}

/// One line a holder: where along the file its fragments are, how many there are, and where it can be asked.
pub fn holder_lines(map: &FileMap) -> Vec<String> {
    let marks = if terminal::is_unicode() { UNICODE } else { ASCII };
    let mut held: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (index, fragment) in map.fragments.iter().enumerate() {
        for holder in &fragment.holders {
            let fragments = held.entry(holder.as_str()).or_insert_with(|| vec![false; map.fragments.len()]);
            fragments[index] = true;
        }
    }
    let rows: Vec<Row> = held.into_iter().map(|(id, fragments)| Row::of(map, id, fragments)).collect();
    let widest =
        |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default();
    let (id, number, endpoints) =
        (widest(|row| &row.id), widest(|row| &row.number), widest(|row| &row.endpoints));
    let width = map_width(terminal::width(), id + number + endpoints);
    let line = |row: &Row| {
        let drawn = draw(&row.held, width, marks);
        format!("  {:id$}  {drawn}  {:number$}  {}", row.id, row.number, row.endpoints)
    };
    rows.iter().map(line).collect()
}

/// What is told of one holder.
struct Row {
    id: String,
    /// For each fragment of the file.
    held: Vec<bool>,
    number: String,
    endpoints: String,
}

impl Row {
    fn of(map: &FileMap, id: &str, held: Vec<bool>) -> Self {
        let number = held.iter().filter(|held| **held).count() as u64;
        let told = map.endpoints.iter().find(|(holder, _)| holder.as_str() == id);
        let endpoints: Vec<&str> =
            told.map(|(_, endpoints)| endpoints.iter().map(|e| e.as_str()).collect()).unwrap_or_default();
        Self {
            id: printable(id),
            held,
            number: count(number, "fragment"),
            endpoints: printable(&endpoints.join(" ")),
        }
    }
}

/// What is left of a line beside the other cells and the gaps between them.
fn map_width(terminal: Option<usize>, others: usize) -> usize {
    const GAPS: usize = 8;
    terminal.map_or(MAP_WIDTH, |columns| {
        columns.saturating_sub(others + GAPS).clamp(MIN_MAP_WIDTH, MAX_MAP_WIDTH)
    })
}

/// Draws which fragments are held, in at most `width` characters.
fn draw(held: &[bool], width: usize, [all, some, none]: Marks) -> String {
    let cells = held.len().min(width);
    let cell = |cell: usize| &held[cell * held.len() / cells..(cell + 1) * held.len() / cells];
    let drawn = (0..cells).map(cell).map(|part| {
        if part.iter().all(|held| *held) {
            all
        } else if part.iter().any(|held| *held) {
            some
        } else {
            none
        }
    });
    drawn.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_shows_all_some_and_none() {
        assert_eq!(draw(&[], 4, UNICODE), "");
        assert_eq!(draw(&[true, false], 4, UNICODE), "█·");
        assert_eq!(draw(&[true, true, true, false, false, false], 3, UNICODE), "█▒·");
        assert_eq!(draw(&[true, true, true, false, false, false], 3, ASCII), "#+.");
        assert_eq!(draw(&[true; 1000], 40, UNICODE), "█".repeat(40));
    }

    #[test]
    fn the_map_takes_what_is_left_of_the_line() {
        assert_eq!(map_width(None, 30), MAP_WIDTH);
        assert_eq!(map_width(Some(80), 30), 42);
        assert_eq!(map_width(Some(20), 30), MIN_MAP_WIDTH);
        assert_eq!(map_width(Some(1000), 30), MAX_MAP_WIDTH);
    }
}
