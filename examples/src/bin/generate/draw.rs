use std::path::Path;

use image::{ImageFormat, RgbImage};
use vlm::{
    AnyConfig, Error,
    chat_template::grounding::{BoundingBox, Entity, LocationMarkup},
    core::{self, Size},
    text::Tokenizer,
};

use crate::output;

/// Refuses a file into which no picture can be written, before an answer is waited for.
pub fn check(flag: &str, path: &Path) -> Result<(), Error> {
    if !ImageFormat::from_path(path).is_ok_and(|format| format.writing_enabled()) {
        let path = path.display();
        let message = format!("{flag} {path}: expected the name of a picture, such as boxes.png");
        return Err(Error::Usage(message));
    }
    output::check_file(path)
}

/// Why a flag or a command is refused.
pub fn no_grounding(flag: &str) -> Error {
    let message = "answers of this model's family have no boxes or points";
    Error::Usage(format!("{flag}: {message}"))
}

/// Whether answers may have places: where the family always writes them, or location tokens stand in the vocabulary.
pub fn may_point(
    config: &AnyConfig,
    tokenizer: &Tokenizer,
    images: &[Size],
) -> Result<bool, Error> {
    let markup = LocationMarkup::default();
    let known = |token: String| tokenizer.token_id(&token).is_some();
    let answer = match markup.tokens().next().is_some_and(known) {
        true => markup.location(BoundingBox::new(0.0, 0.0, 1.0, 1.0)),
        false => String::new(),
    };
    Ok(config.grounding(&answer, images)?.is_some())
}

/// Whether there is anything to draw.
pub fn has_place(entity: &Entity) -> bool {
    !entity.boxes.is_empty() || !entity.points.is_empty()
}

/// Writes the picture with an answer's boxes and points; as it is, where the answer has none.
pub fn write(path: &Path, picture: &RgbImage, entities: &[Entity]) -> Result<(), Error> {
    let mut picture = picture.clone();
    let drawn = examples::draw::draw(&mut picture, entities);
    let unwritable = |error: image::ImageError| core::Error::file(path, error.to_string());
    picture.save(path).map_err(unwritable)?;
    let counted = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    };
    let counts = [
        counted(drawn.boxes, "box", "boxes"),
        counted(drawn.points, "point", "points"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let told = match (counts.is_empty(), drawn.unlabelled) {
        (true, _) => "the answer has no boxes, so this is the picture as it was".to_owned(),
        (false, true) => format!("{}; the picture is too small for words", counts.join(", ")),
        (false, false) => counts.join(", "),
    };
    eprintln!("{}: {told}", path.display());
    Ok(())
}
