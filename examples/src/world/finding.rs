//! Questions about one of a sheet's things at a time.

use rand::{Rng, seq::SliceRandom};

use super::{
    canvas::Area,
    location,
    place::place,
    question::{Fact, Kind, Question, forms, with_article},
    sheet::{Item, Sheet, Thing},
};

impl Sheet {
    /// Questions about things that no other is like, in any order.
    pub fn finding(&self, areas: &[Area], random: &mut impl Rng) -> Vec<Question> {
        let mut questions = Vec::new();
        for (index, (item, area)) in self.items.iter().zip(areas).enumerate() {
            if self.has_one(|other| other.name() == item.name()) {
                questions.extend(by_name(index, item, *area, random));
            }
            if self.has_one(|other| other.colour == item.colour) {
                questions.push(by_colour(index, item, random));
            }
        }
        questions.extend(
            [true, false]
                .into_iter()
                .filter_map(|yes| self.is_there(yes, random)),
        );
        questions.shuffle(random);
        questions
    }

    /// Something that is there, or the colour of one thing with the name of another; nothing where that is there, too,
    /// or may not be named.
    fn is_there(&self, yes: bool, random: &mut impl Rng) -> Option<Question> {
        let named = random.random_range(0..self.items.len());
        let coloured = match yes {
            true => named,
            false => random.random_range(0..self.items.len()),
        };
        let (item, colour) = (&self.items[named], self.items[coloured].colour);
        let is_there = |other: &Item| other.colour == colour && other.name() == item.name();
        let allowed = match item.thing {
            Thing::Shape(shape, _) => self.split.allows(colour, shape),
            _ => true,
        };
        if self.items.iter().any(is_there) != yes || !allowed {
            return None;
        }
        let name = with_article(&format!("{} {}", colour.name, called(item)));
        let (answer, asks) = match yes {
            true => ("yes", Fact::which(named).to_vec()),
            false => ("no", Vec::new()),
        };
        let question = Question::ask(random, Kind::YesNo, &forms::IS_THERE, &name, answer);
        Some(question.about(asks, []))
    }
}

/// A name with what it is the name of: "star", "letter K", "digit 3".
fn called(item: &Item) -> String {
    let noun = match item.thing {
        Thing::Shape(..) => "",
        Thing::Letter(..) => "letter ",
        Thing::Digit(_) => "digit ",
    };
    format!("{noun}{}", item.name())
}

fn by_name(index: usize, item: &Item, area: Area, random: &mut impl Rng) -> Vec<Question> {
    let name = called(item);
    let boxed = format!("{} {name}", location::written(area));
    let colour = item.colour.name.to_owned();
    let asked = [
        (
            Kind::Colour,
            &forms::COLOUR[..],
            Some(colour),
            Fact::Colour(index),
        ),
        (Kind::Box, &forms::BOX, Some(boxed), Fact::Place(index)),
        (
            Kind::Position,
            &forms::POSITION,
            place(item.centre).map(str::to_owned),
            Fact::Place(index),
        ),
        (
            Kind::Texture,
            &forms::TEXTURE,
            item.texture().map(str::to_owned),
            Fact::Texture(index),
        ),
    ];
    let questions = asked.into_iter().filter_map(|(kind, forms, answer, fact)| {
        let question = Question::ask(random, kind, forms, &name, answer?);
        Some(question.about([fact], [Fact::Name(index)]))
    });
    questions.collect()
}

fn by_colour(index: usize, item: &Item, random: &mut impl Rng) -> Question {
    let forms = match item.thing {
        Thing::Shape(..) => forms::SHAPE,
        Thing::Letter(..) => [
            "Which letter is {}?",
            "What is the {} object?",
            "What is the {} letter?",
        ],
        Thing::Digit(_) => [
            "Which digit is {}?",
            "What is the {} object?",
            "What is the {} digit?",
        ],
    };
    Question::ask(random, Kind::Shape, &forms, item.colour.name, item.name())
        .about([Fact::Name(index)], [Fact::Colour(index)])
}
