use std::str::FromStr;

use rand::{Rng, seq::IndexedRandom};

/// What a question is about; accuracy is told for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What the picture shows.
    Caption,
    /// What colour something has.
    Colour,
    /// What shape something has.
    Shape,
    /// How something is filled.
    Texture,
    /// How many there are.
    Count,
    /// Whether something is there.
    YesNo,
    /// In which ninth of the picture something is.
    Position,
    /// Whether something is left of, right of, above or below something else.
    Relation,
    /// Which of two is larger or smaller.
    Size,
    /// Where something is, as a box.
    Box,
    /// What is written.
    Word,
    /// Which digit or number is written by hand.
    Digit,
    /// What a bar chart tells.
    Chart,
    /// What is on a sheet: learned from, not judged by.
    Sheet,
}

impl Kind {
    /// Every kind that is judged, in the order of tables.
    pub const ALL: [Self; 13] = [
        Self::Colour,
        Self::Shape,
        Self::Texture,
        Self::Count,
        Self::YesNo,
        Self::Position,
        Self::Relation,
        Self::Size,
        Self::Box,
        Self::Word,
        Self::Digit,
        Self::Chart,
        Self::Caption,
    ];

    /// Its name in commands.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Texture => "texture",
            Self::Count => "count",
            Self::YesNo => "yes-no",
            Self::Position => "position",
            Self::Relation => "relation",
            Self::Size => "size",
            Self::Box => "box",
            Self::Word => "word",
            Self::Digit => "digit",
            Self::Chart => "chart",
            Self::Sheet => "sheet",
        }
    }

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Texture => "texture",
            Self::Count => "counting to 6",
            Self::YesNo => "yes or no",
            Self::Position => "position",
            Self::Relation => "left of, above",
            Self::Size => "larger, smaller",
            Self::Box => "where is (box)",
            Self::Word => "unseen word",
            Self::Digit => "handwritten digit",
            Self::Chart => "bar chart",
            Self::Sheet => "sheet",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut known = Self::ALL.into_iter().chain([Self::Sheet]);
        let found = known.clone().find(|kind| kind.flag() == text);
        found.ok_or_else(|| {
            let known: Vec<&str> = known.by_ref().map(Self::flag).collect();
            format!("expected one of {}", known.join(", "))
        })
    }
}

/// Something that a conversation can tell about one of a picture's things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// What the thing is: its shape, its letters, its value.
    Name(usize),
    /// What colour it has.
    Colour(usize),
    /// How it is filled.
    Texture(usize),
    /// Where it is.
    Place(usize),
}

impl Fact {
    /// What tells one coloured thing from all others: its colour and its name.
    pub fn which(thing: usize) -> [Self; 2] {
        [Self::Colour(thing), Self::Name(thing)]
    }
}

/// Forms of questions that several scenes have; `{}` stands for a name.
pub mod forms {
    /// What colour something has.
    pub const COLOUR: [&str; 3] = [
        "What colour is the {}?",
        "What color is the {}?",
        "Which colour has the {}?",
    ];
    /// What has a colour.
    pub const SHAPE: [&str; 3] = [
        "What shape is the {} object?",
        "What is the {} object?",
        "Which shape is {}?",
    ];
    /// How something is filled.
    pub const TEXTURE: [&str; 2] = ["What pattern has the {}?", "How is the {} filled?"];
    /// In which ninth of the picture something is.
    pub const POSITION: [&str; 2] = [
        "In which part of the picture is the {}?",
        "Which part of the picture is the {} in?",
    ];
    /// Where something is, as a box.
    pub const BOX: [&str; 2] = ["Where is the {}?", "Find the {}."];
    /// Whether something is there.
    pub const IS_THERE: [&str; 3] = ["Is there {}?", "Do you see {}?", "Can you see {}?"];
}

/// A question with its one right answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What it is about.
    pub kind: Kind,
    /// What is asked.
    pub text: String,
    /// The right answer.
    pub answer: String,
    /// The form of the question, without the names in it: what a guess without the picture could go by.
    pub form: &'static str,
    /// What has to be seen: no question any more once an earlier turn has told it.
    pub asks: Vec<Fact>,
    /// What its own words tell.
    pub tells: Vec<Fact>,
    /// The answers that its own words offer, in their order: "the red star or the blue heart".
    pub offers: Vec<String>,
}

impl Question {
    /// A question in one of several forms; `{}` in a form is `name`.
    pub fn ask(
        random: &mut impl Rng,
        kind: Kind,
        forms: &[&'static str],
        name: &str,
        answer: impl Into<String>,
    ) -> Self {
        let form = forms.choose(random).expect("a question has a form");
        Self {
            kind,
            text: form.replace("{}", name),
            answer: answer.into(),
            form: forms[0],
            asks: Vec::new(),
            tells: Vec::new(),
            offers: Vec::new(),
        }
    }

    /// The same question, with what it asks and what it tells.
    #[must_use]
    pub fn about(mut self, asks: impl Into<Vec<Fact>>, tells: impl Into<Vec<Fact>>) -> Self {
        self.asks = asks.into();
        self.tells = tells.into();
        self
    }

    /// The same question, whose words offer these answers.
    #[must_use]
    pub fn offering(mut self, answers: impl Into<Vec<String>>) -> Self {
        self.offers = answers.into();
        self
    }
}

/// Without the questions whose answer is in a turn before them.
pub fn without_hints(turns: Vec<Question>) -> Vec<Question> {
    let mut told: Vec<Fact> = Vec::new();
    let is_open = |turn: &Question| {
        let open = !turn.asks.iter().any(|fact| told.contains(fact));
        if open {
            told.extend(turn.asks.iter().chain(&turn.tells));
        }
        open
    };
    let mut turns = turns;
    turns.retain(is_open);
    turns
}

/// "a circle", "an orange circle"
pub fn with_article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::split::seeded;

    #[test]
    fn what_was_told_is_not_asked() {
        let random = &mut seeded(1);
        let mut ask = |form, asks: &[Fact], tells: &[Fact]| {
            Question::ask(random, Kind::Colour, &[form], "", "").about(asks, tells)
        };
        let place = ask(
            "Where is the red heart?",
            &[Fact::Place(0)],
            &Fact::which(0),
        );
        let colour = ask(
            "What colour is the heart?",
            &[Fact::Colour(0)],
            &[Fact::Name(0)],
        );
        let other = ask(
            "What colour is the star?",
            &[Fact::Colour(1)],
            &[Fact::Name(1)],
        );
        let forms = |turns: &[&Question]| -> Vec<&str> {
            let turns = turns.iter().copied().cloned().collect();
            without_hints(turns).iter().map(|turn| turn.form).collect()
        };
        assert_eq!(
            forms(&[&colour, &place, &other]),
            [colour.form, place.form, other.form]
        );
        assert_eq!(
            forms(&[&place, &colour, &other]),
            [place.form, other.form],
            "the first turn tells the second's answer"
        );
    }
}
