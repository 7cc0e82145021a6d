//! `mds info`: one file, and where it is.

use std::collections::BTreeMap;

use endpoint::client::{Cluster, FileMap};

use crate::cli::Info;
use crate::describe::FileDetail;
use crate::exit::Failure;
use crate::output::{Output, count, printable, size};
use crate::reference::resolve;

/// How many characters stand for the file from its beginning to its end.
const MAP_WIDTH: usize = 40;

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
    output.line(&format!("state      {}: {} of {} copies", file.state, file.copies, file.target_copies))?;
    output.line(&format!("fragments  {}", file.fragment_count))?;
    holder_lines(&map).iter().try_for_each(|line| output.line(line))
}

/// One line a holder: where along the file its fragments are, how many there are, and where it can be asked.
pub fn holder_lines(map: &FileMap) -> Vec<String> {
    let mut held: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (index, fragment) in map.fragments.iter().enumerate() {
        for holder in &fragment.holders {
            let fragments = held.entry(holder.as_str()).or_insert_with(|| vec![false; map.fragments.len()]);
            fragments[index] = true;
        }
    }
    let width = held.keys().map(|id| id.len()).max().unwrap_or_default();
    held.iter()
        .map(|(id, fragments)| {
            let number = fragments.iter().filter(|held| **held).count() as u64;
            let endpoints = map.endpoints.iter().find(|(holder, _)| holder.as_str() == *id);
            let endpoints: Vec<&str> = endpoints
                .map(|(_, endpoints)| endpoints.iter().map(|e| e.as_str()).collect())
                .unwrap_or_default();
            let (id, drawn) = (printable(id), draw(fragments, MAP_WIDTH));
            format!("  {id:width$}  {drawn}  {}  {}", count(number, "fragment"), endpoints.join(" "))
        })
        .collect()
}

/// Draws which fragments are held, in at most `width` characters: all `█`, some `▒`, none `·`.
fn draw(held: &[bool], width: usize) -> String {
    let cells = held.len().min(width);
    let cell = |cell: usize| &held[cell * held.len() / cells..(cell + 1) * held.len() / cells];
    let drawn = (0..cells).map(cell).map(|part| {
        if part.iter().all(|held| *held) {
            '█'
        } else if part.iter().any(|held| *held) {
            '▒'
        } else {
            '·'
        }
    });
    drawn.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_shows_all_some_and_none() {
        assert_eq!(draw(&[], 4), "");
        assert_eq!(draw(&[true, false], 4), "█·");
        assert_eq!(draw(&[true, true, true, false, false, false], 3), "█▒·");
        assert_eq!(draw(&[true; 1000], 40), "█".repeat(40));
    }
}
