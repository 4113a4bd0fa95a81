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
        }
    }
}

/// "a circle", "an orange circle"
pub fn with_article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}
