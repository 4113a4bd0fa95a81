//! Writes a small task to train on: pictures of a coloured square in one of four corners, and what there is to say
//! about each.
//!
//! ```text
//! cargo run --release --example shapes -- target/shapes                     # <image> What is it?
//! cargo run --release --example shapes -- target/shapes "What is it?"       # where prompts have no placeholder
//! ```
//!
//! `docs/training.md` trains every architecture on it.

use std::{error::Error, fmt::Write, path::Path};

use image::{Rgb, RgbImage};
use serde_json::json;

const COLORS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 40, 40]),
    ("green", [40, 170, 60]),
    ("blue", [40, 70, 220]),
    ("yellow", [240, 220, 40]),
];
const CORNERS: [&str; 4] = ["top left", "top right", "bottom left", "bottom right"];
const GROUNDS: [u8; 3] = [0, 128, 255];
/// Side of a picture.
const SIDE: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: shapes FOLDER [PROMPT]")?;
    let prompt = arguments
        .next()
        .unwrap_or_else(|| "<image> What is it?".to_owned());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut random = Random(1);
    for (name, count) in [("train", 2000), ("eval", 64)] {
        let mut lines = String::new();
        for index in 0..count {
            let (picture, answer) = draw(&mut random);
            let file = format!("{name}-{index}.png");
            picture.save(folder.join(&file))?;
            let line = json!({"images": [file], "prompt": prompt, "completion": answer});
            writeln!(lines, "{line}")?;
        }
        std::fs::write(folder.join(format!("{name}.jsonl")), lines)?;
    }
    Ok(())
}

/// A square somewhere in a corner's quarter.
fn draw(random: &mut Random) -> (RgbImage, String) {
    let (name, color) = COLORS[random.below(4) as usize];
    let corner = random.below(4);
    let ground = GROUNDS[random.below(3) as usize];
    let mut picture = RgbImage::from_pixel(SIDE, SIDE, Rgb([ground; 3]));
    let quarter = SIDE / 2;
    let side = quarter / 2 + random.below(quarter / 2);
    let left = corner % 2 * quarter + random.below(quarter - side + 1);
    let top = corner / 2 * quarter + random.below(quarter - side + 1);
    for y in top..top + side {
        for x in left..left + side {
            picture.put_pixel(x, y, Rgb(color));
        }
    }
    // The space belongs to the answer: many tokenizers make one token of it and the word.
    (picture, format!(" {name}, {}", CORNERS[corner as usize]))
}

/// The same numbers at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        ((self.0 >> 33) % u64::from(end)) as u32
    }
}
