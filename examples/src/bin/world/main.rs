//! The picture world: writes data for `train`, a fresh model, and asks a model about pictures that it never saw.

use std::{fs, path::PathBuf, process::ExitCode};

use burn::tensor::FloatDType;
use clap::{Parser, Subcommand, ValueEnum};
use examples::world::{Kind, Lesson, Split, World, model, score};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use vlm::{Error, Pretrained, core::Error as CoreError};

/// Pictures with questions whose answers are known: shapes, words, handwritten digits, bar charts.
#[derive(Debug, Parser)]
#[command(name = "world", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write pictures and conversations as `train --data` reads them
    Data {
        /// Folder to write; made where it does not exist
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// Number of pictures
        #[arg(long, value_name = "N", default_value_t = 1000)]
        count: u64,
        /// Other numbers give other pictures
        #[arg(long, value_name = "S", default_value_t = 0)]
        seed: u64,
        /// What training sees, or what it is judged by
        #[arg(long, value_enum, default_value_t = SplitFlag::Train)]
        split: SplitFlag,
        /// What is said about them
        #[arg(long, value_enum, default_value_t = LessonFlag::Questions)]
        lesson: LessonFlag,
        /// Rows of a sheet, at most; in lesson `finding`, scenes have at most twice as many shapes
        #[arg(long, value_name = "N", default_value_t = 6,
            value_parser = clap::value_parser!(u8).range(1..=6))]
        rows: u8,
        /// Sheets without letters and digits
        #[arg(long)]
        only_shapes: bool,
        /// How many of 100 scenes show shapes, words and digits; the others show bars
        #[arg(long, value_name = "N,N,N", value_parser = shares,
            default_value = "50,24,14")]
        scenes: [u8; 3],
        /// Ask questions of these kinds alone: sheet, colour, shape, texture, count, yes-no,
        /// position, relation, size, box, word, digit, chart, caption
        #[arg(long, value_name = "KIND,KIND", value_delimiter = ',')]
        kinds: Vec<Kind>,
    },
    /// Write a fresh model with tokenizer, template and processor
    Model {
        /// Folder to write; made where it does not exist
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// Other numbers give other weights
        #[arg(long, value_name = "S", default_value_t = 0)]
        seed: u64,
    },
    /// Ask a model about held-out pictures and print how often it is right: with the picture, with a grey one
    /// and with another one
    Score {
        /// Folder of the model
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// Questions of each kind
        #[arg(long, value_name = "N", default_value_t = 400)]
        per_kind: usize,
        /// Other numbers give other pictures
        #[arg(long, value_name = "S", default_value_t = 0)]
        seed: u64,
        /// Folder for every question with its answer (`answers.jsonl`) and the pictures of wrong ones
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// A table for people, or JSON
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SplitFlag {
    Train,
    HeldOut,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LessonFlag {
    /// Sheets of black things, each to be named
    Plain,
    /// Sheets of things of all colours, each to be named; every fourth is plain
    Sheets,
    /// Sheets, with the colour or the place of each thing or the thing of each colour, in any order
    Pairs,
    /// Scenes of shapes and sheets, with questions about one thing at a time
    Finding,
    /// Scenes with conversations about them; in every fourth example a sheet
    Questions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn shares(text: &str) -> Result<[u8; 3], String> {
    let numbers: Result<Vec<u8>, _> = text.split(',').map(str::parse).collect();
    let shares: Option<[u8; 3]> = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    shares
        .filter(|shares| shares.iter().copied().map(u32::from).sum::<u32>() <= 100)
        .ok_or_else(|| "three numbers, together 100 at most".to_owned())
}

fn main() -> ExitCode {
    let args: Args = examples::parse();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", examples::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Data {
            output,
            count,
            seed,
            split,
            lesson,
            rows,
            only_shapes,
            scenes,
            kinds,
        } => {
            let split = match split {
                SplitFlag::Train => Split::Train,
                SplitFlag::HeldOut => Split::HeldOut,
            };
            let lesson = match lesson {
                LessonFlag::Plain => Lesson::Plain,
                LessonFlag::Sheets => Lesson::Sheets,
                LessonFlag::Pairs => Lesson::Pairs,
                LessonFlag::Finding => Lesson::Finding,
                LessonFlag::Questions => Lesson::Questions,
            };
            let mut world = World::new(split, seed)
                .with_lesson(lesson)
                .with_rows(rows.into())
                .with_only_shapes(only_shapes)
                .with_scenes(scenes);
            if !kinds.is_empty() {
                world = world.with_kinds(&kinds);
            }
            if world.example(0).turns.is_empty() {
                let problem = "--kinds: this lesson has no questions of these kinds";
                return Err(CoreError::Request(problem.to_owned()).into());
            }
            let bar = bar(count, "pictures");
            world.write(&output, count, || bar.inc(1))?;
            bar.finish_and_clear();
            Ok(())
        }
        Command::Model { output, seed } => Ok(model::write(&output, seed)?),
        Command::Score {
            model,
            per_kind,
            seed,
            output,
            format,
        } => {
            let model = Pretrained::load(&model, FloatDType::F32, &vlm::parse_device("flex")?)?;
            let asked = score::questions(seed, per_kind);
            let bar = bar(3 * asked.len() as u64, "questions");
            let (table, answers) = score::score(&model, &asked, |count| bar.inc(count as u64))?;
            bar.finish_and_clear();
            match format {
                Format::Text => println!("{table}"),
                Format::Json => println!("{}", table.to_json()),
            }
            match output {
                Some(folder) => Ok(write_answers(&folder, &asked, &answers)?),
                None => Ok(()),
            }
        }
    }
}

fn write_answers(
    folder: &PathBuf,
    asked: &[score::Asked],
    answers: &[String],
) -> Result<(), CoreError> {
    fs::create_dir_all(folder).map_err(CoreError::io(folder))?;
    let mut lines = String::new();
    for (index, (asked, answer)) in asked.iter().zip(answers).enumerate() {
        let question = &asked.question;
        let right = score::is_right(question, answer);
        if !right {
            let path = folder.join(format!("{index:05}.png"));
            let saved = asked.image.save(&path);
            saved.map_err(|error| CoreError::file(&path, error.to_string()))?;
        }
        let line = json!({
            "index": index, "kind": question.kind.name(), "shown": asked.caption, "question": question.text,
            "expected": question.answer, "answer": answer, "right": right,
        });
        lines += &format!("{line}\n");
    }
    let path = folder.join("answers.jsonl");
    fs::write(&path, lines).map_err(CoreError::io(&path))
}

fn bar(length: u64, noun: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} {msg} {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style)
        .with_message(noun.to_owned())
}
