//! A sheet's things in pairs of words, in any order: the lesson of finding a thing by what it is called or by its
//! colour.
//!
//! A word of the answer tells where to look for the next one, and many words of an answer do; from questions about one
//! thing at a time the same is learned late or never (docs/world.md).

use rand::{Rng, seq::SliceRandom};

use super::{
    place::place,
    question::{Kind, Question},
    sheet::{Item, Sheet},
};

/// What is told of an item, if there is anything.
type Value = fn(&Item) -> Option<&'static str>;

/// What is told of things by their names.
const BY_NAME: [(Kind, &str, Value); 3] = [
    (Kind::Colour, "Which colour has each thing?", |item| {
        Some(item.colour.name)
    }),
    (Kind::Texture, "How is each thing filled?", Item::texture),
    (Kind::Position, "Where is each thing?", |item| {
        place(item.centre)
    }),
];

/// What is told of things by their colours; the first of them is asked twice as often.
const BY_COLOUR: [(&str, Value); 3] = [
    ("Which thing has each colour?", |item| Some(item.name())),
    ("Which thing has each colour?", |item| Some(item.name())),
    ("Where is each colour?", |item| place(item.centre)),
];

impl Sheet {
    /// Questions about all things that no other is like; what goes by colours is of kind [`Kind::Shape`].
    pub fn pairs(&self, random: &mut impl Rng) -> Vec<Question> {
        let mut items: Vec<&Item> = self.items.iter().collect();
        items.shuffle(random);
        let by_name = BY_NAME.map(|(kind, form, value)| {
            let named = items
                .iter()
                .filter(|item| self.has_one(|other| other.name() == item.name()));
            (
                kind,
                form,
                pairs(named.map(|item| (item.name(), value(item)))),
            )
        });
        let by_colour = BY_COLOUR.map(|(form, value)| {
            let named = items
                .iter()
                .filter(|item| self.has_one(|other| other.colour == item.colour));
            (
                Kind::Shape,
                form,
                pairs(named.map(|item| (item.colour.name, value(item)))),
            )
        });
        let told = by_name.into_iter().chain(by_colour);
        let told = told.filter(|(_, _, answer)| !answer.is_empty());
        let mut questions: Vec<Question> = told
            .map(|(kind, form, answer)| Question::ask(random, kind, &[form], "", answer))
            .collect();
        questions.shuffle(random);
        questions
    }
}

fn pairs<'a>(items: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let pairs = items.filter_map(|(key, value)| Some(format!("{key} {}", value?)));
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{
        background::Background,
        sheet::Style,
        split::{Split, seeded},
    };

    #[test]
    fn a_key_stands_for_one_thing() {
        let random = &mut seeded(5);
        let style = Style {
            rows: 4,
            plain: false,
            shapes: false,
        };
        for _ in 0..50 {
            let background = Background::random(random);
            let sheet = Sheet::random(Split::Train, style, &background, random);
            for question in sheet.pairs(random) {
                let keys = question
                    .answer
                    .split(", ")
                    .map(|pair| pair.split(' ').next());
                for key in keys {
                    let key = key.expect("a pair has words");
                    assert!(
                        sheet.has_one(|item| [item.name(), item.colour.name].contains(&key)),
                        "{question:?}"
                    );
                }
            }
        }
    }
}
