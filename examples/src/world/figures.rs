use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};

use super::{
    background::Background,
    canvas::{Area, Canvas, Paint},
    colour::{COLOURS, Colour},
    location,
    place::place,
    question::{Fact, Kind, Question, forms, with_article},
    shape::{SHAPES, Shape},
    split::Split,
    texture::{TEXTURES, Texture},
};

/// Shapes of a scene, at most.
pub const MOST: usize = 6;

/// What one of two things can be, and how to ask which of them is.
type Sides = [(&'static str, &'static str); 2];
const LEFT_RIGHT: Sides = [
    ("left of", "Which is left of the other, the {}?"),
    ("right of", "Which is right of the other, the {}?"),
];
const ABOVE_BELOW: Sides = [
    ("above", "Which is above the other, the {}?"),
    ("below", "Which is below the other, the {}?"),
];

/// One to six coloured shapes, no two of them alike.
#[derive(Clone, Debug)]
pub struct Figures {
    split: Split,
    figures: Vec<Figure>,
}

#[derive(Clone, Debug)]
struct Figure {
    shape: Shape,
    colour: Colour,
    texture: Texture,
    paint: Paint,
    centre: [f32; 2],
    radius: f32,
}

impl Figure {
    fn name(&self) -> String {
        format!("{} {}", self.colour.name, self.shape.name())
    }

    fn area(&self) -> Area {
        let extent = self.shape.extent();
        std::array::from_fn(|edge| self.centre[edge % 2] + extent[edge] * self.radius)
    }
}

impl Figures {
    /// Some shapes, `most` of them at most. In the held-out split every other picture has a pair that training
    /// never shows; in training crowded pictures, which are harder, come more often.
    pub fn random(
        split: Split,
        most: usize,
        background: &Background,
        random: &mut impl Rng,
    ) -> Self {
        let mut count = random.random_range(1..=most);
        if split == Split::Train && random.random_bool(0.5) {
            count = count.max(random.random_range(1..=most));
        }
        let rare = split == Split::HeldOut && random.random_bool(0.5);
        let mut figures: Vec<Figure> = Vec::new();
        // Often several share a shape or a colour, else counting would be but counting to one.
        let favourite_shape = random.random_bool(0.5).then(|| *one_of(&SHAPES, random));
        let favourite_colour = random.random_bool(0.4).then(|| *one_of(&COLOURS, random));
        for _ in 0..400 {
            if figures.len() == count {
                break;
            }
            let mut shape = *one_of(&SHAPES, random);
            let mut colour = *one_of(&COLOURS, random);
            if random.random_bool(0.6) {
                shape = favourite_shape.unwrap_or(shape);
            }
            if random.random_bool(0.6) {
                colour = favourite_colour.unwrap_or(colour);
            }
            let allowed = match rare && figures.is_empty() {
                true => Split::is_rare(colour, shape),
                false => split.allows(colour, shape),
            };
            let known = figures
                .iter()
                .any(|f| f.shape == shape && f.colour == colour);
            if !allowed || known || !colour.stands_out(background.middle()) {
                continue;
            }
            let largest = 0.34 - 0.03 * count as f32;
            let radius = random.random_range(0.085..largest);
            let figure = Figure {
                shape,
                colour,
                texture: match random.random_bool(0.6) {
                    true => Texture::Plain,
                    false => *one_of(&TEXTURES, random),
                },
                paint: colour.paint(random),
                centre: [(); 2].map(|()| random.random_range(radius..1.0 - radius)),
                radius,
            };
            if figures
                .iter()
                .all(|other| apart(&figure.area(), &other.area()))
            {
                figures.push(figure);
            }
        }
        Self { split, figures }
    }

    /// Draws them, later ones in front.
    pub fn draw(&self, canvas: &mut Canvas) {
        for figure in &self.figures {
            let paint = |x, y| figure.texture.paint(x, y, figure.paint);
            figure
                .shape
                .draw(canvas, figure.centre, figure.radius, paint);
        }
    }

    /// What the picture shows, from left to right.
    pub fn caption(&self) -> String {
        let mut figures: Vec<&Figure> = self.figures.iter().collect();
        figures.sort_by(|a, b| a.centre[0].total_cmp(&b.centre[0]));
        let names: Vec<String> = figures.iter().map(|f| with_article(&f.name())).collect();
        let text = match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
            None => "nothing".to_owned(),
        };
        format!("{}{}.", text[..1].to_uppercase(), &text[1..])
    }

    /// Questions about them, in any order.
    pub fn questions(&self, random: &mut impl Rng) -> Vec<Question> {
        let mut questions = Vec::new();
        // In training more seldom than those of a kind, which are harder to count.
        if self.split == Split::HeldOut || random.random_bool(0.5) {
            questions.push(self.how_many(random));
        }
        questions.push(self.how_many_of_a_kind(random));
        questions.extend([true, false].map(|yes| self.is_there(yes, random)));
        for index in 0..self.figures.len() {
            questions.extend(self.about(index, random));
            for other in index + 1..self.figures.len() {
                questions.extend(self.compare(index, other, random));
            }
        }
        questions.shuffle(random);
        questions
    }

    fn how_many(&self, random: &mut impl Rng) -> Question {
        let forms = [
            "How many objects are there?",
            "How many shapes do you see?",
            "Count the objects.",
        ];
        Question::ask(
            random,
            Kind::Count,
            &forms,
            "",
            self.figures.len().to_string(),
        )
    }

    fn how_many_of_a_kind(&self, random: &mut impl Rng) -> Question {
        let seen = one_of(&self.figures, random).clone();
        let (name, count) = match random.random_bool(0.5) {
            true => {
                let alike = self.figures.iter().filter(|f| f.shape == seen.shape);
                (seen.shape.plural(), alike.count())
            }
            false => {
                let alike = self.figures.iter().filter(|f| f.colour == seen.colour);
                (format!("{} objects", seen.colour.name), alike.count())
            }
        };
        let forms = ["How many {} are there?", "How many {} do you see?"];
        Question::ask(random, Kind::Count, &forms, &name, count.to_string())
    }

    /// Something that is there or, with the same forms, something that is not; half of what is not has the
    /// colour or the shape of something that is.
    fn is_there(&self, yes: bool, random: &mut impl Rng) -> Question {
        let seen = random.random_range(0..self.figures.len());
        let name = match yes {
            true => self.figures[seen].name(),
            false => loop {
                let seen = one_of(&self.figures, random);
                let (colour, shape) = match random.random_range(0..4) {
                    0 => (seen.colour, *one_of(&SHAPES, random)),
                    1 => (*one_of(&COLOURS, random), seen.shape),
                    _ => (*one_of(&COLOURS, random), *one_of(&SHAPES, random)),
                };
                let there = self
                    .figures
                    .iter()
                    .any(|f| f.colour == colour && f.shape == shape);
                if !there && self.split.allows(colour, shape) {
                    break format!("{} {}", colour.name, shape.name());
                }
            },
        };
        let answer = if yes { "yes" } else { "no" };
        let question = Question::ask(
            random,
            Kind::YesNo,
            &forms::IS_THERE,
            &with_article(&name),
            answer,
        );
        match yes {
            true => question.about(Fact::which(seen), []),
            false => question,
        }
    }

    fn about(&self, index: usize, random: &mut impl Rng) -> Vec<Question> {
        let figure = &self.figures[index];
        let name = figure.name();
        let mut questions = Vec::new();
        let alone =
            |same: &dyn Fn(&Figure) -> bool| self.figures.iter().filter(|f| same(f)).count() == 1;
        if alone(&|other| other.shape == figure.shape) {
            let (name, answer) = (figure.shape.name(), figure.colour.name);
            let question = Question::ask(random, Kind::Colour, &forms::COLOUR, name, answer);
            questions.push(question.about([Fact::Colour(index)], [Fact::Name(index)]));
        }
        if alone(&|other| other.colour == figure.colour) {
            let (name, answer) = (figure.colour.name, figure.shape.name());
            let question = Question::ask(random, Kind::Shape, &forms::SHAPE, name, answer);
            questions.push(question.about([Fact::Name(index)], [Fact::Colour(index)]));
        }
        // Seven of ten are plain; asked about each, `plain` would be the answer to most questions.
        if figure.texture != Texture::Plain || random.random_bool(1.0 / 7.0) {
            let answer = figure.texture.name();
            let question = Question::ask(random, Kind::Texture, &forms::TEXTURE, &name, answer);
            questions.push(question.about([Fact::Texture(index)], Fact::which(index)));
        }
        if let Some(place) = place(figure.centre) {
            let question = Question::ask(random, Kind::Position, &forms::POSITION, &name, place);
            questions.push(question.about([Fact::Place(index)], Fact::which(index)));
        }
        let answer = format!("{} {name}", location::written(figure.area()));
        let question = Question::ask(random, Kind::Box, &forms::BOX, &name, answer);
        questions.push(question.about([Fact::Place(index)], Fact::which(index)));
        questions
    }

    /// Which of two things is where and which is larger, where that is clear.
    fn compare(&self, one: usize, other: usize, random: &mut impl Rng) -> Vec<Question> {
        let named = [Fact::which(one), Fact::which(other)].concat();
        let (one, other) = (&self.figures[one], &self.figures[other]);
        // Who is named first does not depend on the answer.
        let (a, b) = match random.random_bool(0.5) {
            true => (one, other),
            false => (other, one),
        };
        let mut questions = Vec::new();
        let both = |middle: &str| format!("{} {middle} the {}", a.name(), b.name());
        let offers = || [a.name(), b.name()];
        for (axis, sides) in [LEFT_RIGHT, ABOVE_BELOW].into_iter().enumerate() {
            let distance = b.centre[axis] - a.centre[axis];
            if distance.abs() <= 0.15 {
                continue;
            }
            let (side, which) = *one_of(&sides, random);
            let first = (distance > 0.0) == (side == sides[0].0);
            questions.push(match random.random_bool(0.5) {
                true => {
                    let answer = if first { "yes" } else { "no" };
                    let text = both(side);
                    Question::ask(random, Kind::Relation, &["Is the {}?"], &text, answer)
                }
                false => {
                    let answer = if first { a } else { b }.name();
                    let text = both("or");
                    Question::ask(random, Kind::Relation, &[which], &text, answer)
                        .offering(offers())
                }
            });
        }
        let (large, small) = match a.radius > b.radius {
            true => (a, b),
            false => (b, a),
        };
        if large.radius > 1.35 * small.radius {
            let text = both("or");
            let (form, right) = match random.random_bool(0.5) {
                true => ("Which is larger, the {}?", large),
                false => ("Which is smaller, the {}?", small),
            };
            let question = Question::ask(random, Kind::Size, &[form], &text, right.name());
            questions.push(question.offering(offers()));
        }
        for question in &mut questions {
            question.tells.clone_from(&named);
        }
        questions
    }
}

/// Whether two areas share at most a tenth of the smaller one.
fn apart(a: &Area, b: &Area) -> bool {
    let overlap = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0);
    let size = |area: &Area| (area[2] - area[0]) * (area[3] - area[1]);
    overlap(0) * overlap(1) <= 0.1 * size(a).min(size(b))
}

fn one_of<'a, T>(all: &'a [T], random: &mut impl Rng) -> &'a T {
    all.choose(random)
        .expect("there is something to choose from")
}
