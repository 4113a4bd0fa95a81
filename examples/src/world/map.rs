//! What is where, cell by cell: a lesson for a tower that knows nothing yet, with a word for every cell.

use rand::Rng;

use super::{
    colour::Colour,
    question::{Kind, Question},
};

/// Cells along a side.
const CELLS: usize = 8;
/// Points of a cell along each axis.
const POINTS: usize = 4;
/// A cell belongs to the thing with the most points in it, if these are so many.
const ENOUGH: usize = 4;

/// What is seen at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its colour, where it has one of its own.
    pub colour: Option<Colour>,
    /// A shape, or a single character; nothing for what has no name.
    pub name: String,
}

/// The picture twice, once in colours and once in names.
pub fn questions(at: impl Fn(f32, f32) -> Option<Seen>, random: &mut impl Rng) -> [Question; 2] {
    let cells: Vec<Option<Seen>> = (0..CELLS * CELLS)
        .map(|cell| most(cell % CELLS, cell / CELLS, &at))
        .collect();
    let written = |name: &dyn Fn(&Seen) -> Option<String>| -> String {
        let cell = |seen: &Option<Seen>| seen.as_ref().and_then(name);
        let cell = |seen| cell(seen).unwrap_or_else(|| ".".to_owned());
        cells.iter().map(cell).collect()
    };
    let colours = written(&|seen| seen.colour.map(|colour| format!(" {}", colour.name)));
    let names = written(&|seen| match seen.name.len() {
        0 => None,
        1 => Some(seen.name.clone()),
        _ => Some(format!(" {}", seen.name)),
    });
    [
        Question::ask(random, Kind::Map, &["Which colour is where?"], "", colours),
        Question::ask(random, Kind::Map, &["What is where?"], "", names),
    ]
}

fn most(column: usize, row: usize, at: impl Fn(f32, f32) -> Option<Seen>) -> Option<Seen> {
    let mut counts: Vec<(Seen, usize)> = Vec::new();
    for point in 0..POINTS * POINTS {
        let place = |cell: usize, point: usize| {
            (cell as f32 + (point as f32 + 0.5) / POINTS as f32) / CELLS as f32
        };
        let Some(seen) = at(place(column, point % POINTS), place(row, point / POINTS)) else {
            continue;
        };
        match counts.iter_mut().find(|(known, _)| *known == seen) {
            Some((_, count)) => *count += 1,
            None => counts.push((seen, 1)),
        }
    }
    let (seen, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= ENOUGH).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{colour::COLOURS, split::seeded};

    #[test]
    fn cells_are_told_row_by_row() {
        let seen = |name: &str| Seen {
            colour: (name != "A").then_some(COLOURS[0]),
            name: name.to_owned(),
        };
        let at = |x: f32, y: f32| match (x < 0.25, y < 0.125) {
            (true, true) => Some(seen("ring")),
            (false, true) if x > 0.875 => Some(seen("A")),
            // A tenth of a cell is not enough.
            (true, false) if y > 0.99 => Some(seen("B")),
            _ => None,
        };
        let [colours, names] = questions(at, &mut seeded(0));
        let rest = ".".repeat(56);
        assert_eq!(colours.answer, format!(" red red......{rest}"));
        assert_eq!(names.answer, format!(" ring ring.....A{rest}"));
    }
}
