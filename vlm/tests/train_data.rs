//! Records become the ids and labels that transformers and TRL make of them, from every format; what is wrong with a
//! record is said with its place.
#![cfg(feature = "train")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{copy, folder};
use serde::Deserialize;
use vlm::{
    AnyConfig, Processor,
    core::Source,
    train::{
        IGNORED, MicroBatch, Sample,
        data::{
            BadSamples, Dataset, Labels, Loader, LoaderConfig, RecordSource, Samples, TooLong, open,
        },
    },
};

const CASES: [&str; 2] = ["llava/clip-llama", "idefics3/idefics3"];

#[derive(Deserialize)]
struct Expected {
    conversations: Vec<Conversation>,
    completions: Vec<Completion>,
    llava: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    ids: Vec<i64>,
    assistant: Vec<u8>,
    trl: Collated,
    trl_assistant: Collated,
}

#[derive(Deserialize)]
struct Completion {
    ids: Vec<i64>,
    begins: usize,
    trl: Collated,
}

/// What TRL's collator makes of a record.
#[derive(Deserialize)]
struct Collated {
    input_ids: Vec<i64>,
    labels: Vec<i64>,
}

impl Collated {
    /// Its labels as they would be with the beginning-of-sequence token, which TRL leaves away where the template
    /// writes none.
    fn labels_with_bos(&self, ids: &[i64], bos: i64) -> Vec<i64> {
        if self.input_ids == ids {
            return self.labels.clone();
        }
        assert_eq!(self.input_ids, ids[1..]);
        [&[bos], &self.labels[..]].concat()
    }
}

fn expected(case: &str) -> Expected {
    let text = fs::read_to_string(folder("train_data").join("expected.json")).unwrap();
    let mut cases: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    serde_json::from_value(cases.remove(case).unwrap()).unwrap()
}

/// The processor of a checkpoint, with a template that marks what the assistant says.
fn processor(case: &str) -> Arc<Processor> {
    let marked = folder("train_data").join("idefics3_training.jinja");
    let copy = copy(case);
    if case.starts_with("idefics3") {
        fs::copy(marked, copy.path().join("chat_template.jinja")).unwrap();
    }
    let config = AnyConfig::from_folder(copy.path()).unwrap();
    Arc::new(Processor::from_folder(copy.path(), &config).unwrap())
}

type FileSamples = Samples<Box<dyn RecordSource>, Arc<Processor>>;

fn samples(processor: &Arc<Processor>, file: &Path, labels: Labels) -> FileSamples {
    Samples {
        labels,
        ..Samples::new(open(file).unwrap(), processor.clone())
    }
}

fn set(name: &str) -> PathBuf {
    folder("train_data").join(name)
}

fn all(samples: &FileSamples) -> Vec<Sample> {
    let sample = |index| samples.sample(index).unwrap().unwrap();
    (0..samples.len()).map(sample).collect()
}

fn ids(sample: &Sample) -> Vec<i64> {
    sample.sequence.ids().into_iter().map(i64::from).collect()
}

/// `ids` where `learned`, else ignored.
fn labels(ids: &[i64], learned: impl Fn(usize) -> bool) -> Vec<i64> {
    let label = |(position, id): (usize, &i64)| if learned(position) { *id } else { IGNORED };
    ids.iter().enumerate().map(label).collect()
}

fn check_conversations(case: &str, file: &str, expected: &[Conversation]) {
    let processor = processor(case);
    let image = i64::from(processor.tokenizer().token_id("<image>").unwrap());
    let found = [Labels::All, Labels::Assistant]
        .map(|labels| all(&samples(&processor, &set(file), labels)));
    assert_eq!(found[0].len(), expected.len());
    for ((whole, assistant), expected) in found[0].iter().zip(&found[1]).zip(expected) {
        assert_eq!(ids(whole), expected.ids, "{case}");
        assert_eq!(ids(assistant), expected.ids, "{case}");

        // TRL learns to say placeholders; nothing else differs.
        let mut trl = expected.trl.labels_with_bos(&expected.ids, expected.ids[0]);
        for label in trl.iter_mut().filter(|label| **label == image) {
            *label = IGNORED;
        }
        assert_eq!(whole.labels, trl, "{case}");

        let marked = |position: usize| expected.assistant[position] == 1;
        assert_eq!(assistant.labels, labels(&expected.ids, marked), "{case}");
        let trl = expected
            .trl_assistant
            .labels_with_bos(&expected.ids, IGNORED);
        assert_eq!(assistant.labels, trl, "{case}");
    }
}

#[test]
fn conversations_are_labelled_as_transformers_and_trl_do() {
    for case in CASES {
        check_conversations(case, "conversations.jsonl", &expected(case).conversations);
    }
}

#[test]
fn llavas_conversations_are_the_same_in_its_own_form() {
    for case in CASES {
        check_conversations(case, "llava.json", &expected(case).llava);
    }
}

#[test]
fn completions_begin_where_trl_lets_them_begin() {
    for case in CASES {
        let processor = processor(case);
        let file = set("completions.jsonl");
        let completions = all(&samples(&processor, &file, Labels::Assistant));
        let wholes = all(&samples(&processor, &file, Labels::All));
        let expected = expected(case).completions;
        assert_eq!(completions.len(), expected.len());
        for (index, expected) in expected.iter().enumerate() {
            let (sample, whole) = (&completions[index], &wholes[index]);
            assert_eq!(ids(sample), expected.ids, "{case}");
            let begins = |position: usize| position >= expected.begins;
            assert_eq!(sample.labels, labels(&expected.ids, begins), "{case}");
            let text = |position: usize| whole.sequence.slots[position].source == Source::Text;
            assert_eq!(whole.labels, labels(&expected.ids, text), "{case}");
            // The last completion goes on inside of a word, which TRL's collator tokenises apart.
            if index + 1 < completions.len() {
                let trl = expected.trl.labels_with_bos(&expected.ids, IGNORED);
                assert_eq!(sample.labels, trl, "{case}");
            }
        }
    }
}

#[test]
fn tokens_that_the_assistant_wrote_before_do_not_move_the_completion() {
    let processor = processor("llava/clip-llama");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("set.jsonl");
    let line = r#"{"prompt": [{"role": "user", "content": "</s>?"}, {"role": "assistant", "content": "</s>"},
        {"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "Red."}]}"#;
    fs::write(&file, line.replace('\n', " ")).unwrap();
    let sample = &all(&samples(&processor, &file, Labels::Assistant))[0];
    let learned = sample.labels.iter().filter(|label| **label != IGNORED);
    let learned: Vec<u32> = learned.map(|label| *label as u32).collect();
    assert_eq!(processor.tokenizer().decode(&learned).trim(), "Red.");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_has_the_same_records() {
    // The parquet file has smaller pictures, which is all the same to a LLaVA.
    check_conversations(
        "llava/clip-llama",
        "conversations.parquet",
        &expected("llava/clip-llama").conversations,
    );
}

#[cfg(feature = "parquet")]
#[test]
fn hints_of_parquet_are_those_of_its_records() {
    for file in [
        "conversations.parquet",
        "completions.parquet",
        "pages.parquet",
    ] {
        let rows = open(set(file)).unwrap();
        for index in 0..rows.len() {
            let hints = rows.record(index).unwrap().hints();
            assert!(hints.words > 0);
            assert_eq!(rows.hints(index), hints, "{file}, row {}", index + 1);
        }
    }
    let hints = open(set("conversations.jsonl")).unwrap().hints(1);
    assert_eq!((hints.pictures, hints.words), (2, 23));
    assert_eq!(hints.length(), 2 * 128 + 23);
}

#[cfg(feature = "parquet")]
#[test]
fn a_folder_of_shards_is_one_set() {
    let folder = tempfile::tempdir().unwrap();
    for (shard, file) in ["completions.parquet", "conversations.parquet"]
        .iter()
        .enumerate()
    {
        let name = format!("train-0000{shard}-of-00002.parquet");
        fs::copy(set(file), folder.path().join(name)).unwrap();
    }
    let rows = open(folder.path()).unwrap();
    assert_eq!(rows.len(), 10);
    let place = |index: usize| rows.record(index).unwrap().place.to_string();
    assert!(place(4).ends_with("train-00000-of-00002.parquet: row 5"));
    assert!(place(5).ends_with("train-00001-of-00002.parquet: row 1"));
    assert_eq!(
        rows.hints(6),
        open(set("conversations.jsonl")).unwrap().hints(1)
    );
    fs::write(
        folder.path().join("train-00000-of-00002.parquet"),
        "PAR1 or not",
    )
    .unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    let named = "train-00000-of-00002.parquet: not a Parquet file that can be read: ";
    assert!(error.contains(named), "{error}");
}

#[cfg(feature = "parquet")]
#[test]
fn rows_of_parquet_are_read_in_any_order() {
    use vlm::train::data::{Body, Picture};

    // Over groups of rows, too.
    let in_order = open(set("conversations.parquet")).unwrap();
    let in_order: Vec<_> = (0..5).map(|row| in_order.record(row).unwrap()).collect();
    let rows = open(set("conversations.parquet")).unwrap();
    for row in [0, 3, 4, 1, 2, 0, 1] {
        assert_eq!(rows.record(row).unwrap(), in_order[row]);
    }

    let bytes = |name: &str| fs::read(folder("images").join(name)).unwrap();
    let (pixel, strip) = (bytes("pixel.png"), bytes("strip.png"));
    let pictures = [
        vec![&strip],
        vec![],
        vec![&pixel, &strip],
        vec![],
        vec![&pixel],
    ];
    for file in ["completions.parquet", "pages.parquet"] {
        let rows = open(set(file)).unwrap();
        assert_eq!(rows.len(), 5);
        for index in [4, 0, 2, 3, 1, 2] {
            let record = rows.record(index).unwrap();
            assert_eq!(
                record.place.to_string(),
                format!("{}: row {}", set(file).display(), index + 1)
            );
            let Body::Continued { prompt, .. } = &record.body else {
                panic!("a prompt and a completion")
            };
            let text = serde_json::to_string(&prompt[0]).unwrap();
            assert!(text.contains(&format!("Row {}?", index + 1)), "{text}");
            let found = record.pictures.iter().map(|picture| match picture {
                Picture::Bytes { bytes, .. } => bytes,
                Picture::File(path) => panic!("{} has no bytes", path.display()),
            });
            assert_eq!(
                found.collect::<Vec<_>>(),
                pictures[index],
                "{file}, row {}",
                index + 1
            );
        }
    }
}

#[test]
fn pictures_may_lie_elsewhere() {
    use vlm::train::data::{Picture, open_with_images};

    let records = open_with_images(set("llava.json"), folder("train_data/elsewhere")).unwrap();
    let pictures = records.record(2).unwrap().pictures;
    let elsewhere = folder("train_data/elsewhere").join("../images/strip.png");
    assert_eq!(pictures[1], Picture::File(elsewhere));
}

#[test]
fn a_model_without_a_template_learns_texts() {
    let processor = processor("kosmos2/grounding");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("set.jsonl");
    let cup = folder("images").join("coffee.png");
    let cup = cup.display();
    let lines = [
        format!(r#"{{"images": ["{cup}"], "prompt": "An image of", "completion": " a cup."}}"#),
        r#"{"prompt": "An image of", "completion": " a cup.</s>"}"#.to_owned(),
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let end = i64::from(processor.tokenizer().token_id("</s>").unwrap());
    for sample in all(&samples(&processor, &file, Labels::Assistant)) {
        let learned = sample.labels.iter().filter(|label| **label != IGNORED);
        let learned: Vec<u32> = learned.map(|label| *label as u32).collect();
        assert_eq!(processor.tokenizer().decode(&learned).trim(), "a cup.");
        let ends = ids(&sample).iter().filter(|id| **id == end).count();
        assert_eq!((ends, sample.labels.last()), (1, Some(&end)));
    }
    fs::write(
        &file,
        format!(r#"{{"image": "{cup}", "text": "An image of a cup."}}"#),
    )
    .unwrap();
    let sample = &all(&samples(&processor, &file, Labels::All))[0];
    let text = |slot: &vlm::core::Slot| slot.source == Source::Text;
    let positions = sample.sequence.slots.iter().map(text);
    let learned = sample.labels.iter().map(|label| *label != IGNORED);
    assert!(positions.eq(learned));
    assert_eq!(sample.images.len(), 1);
}

#[test]
fn a_question_without_a_template_is_learned_as_it_is_asked() {
    for case in ["kosmos2/grounding", "fuyu/nested"] {
        let processor = processor(case);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("set.jsonl");
        let path = folder("images").join("coffee.png");
        let cup = path.display();
        let turns = r#"{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cup."}"#;
        let one = format!(r#"{{"images": ["{cup}"], "messages": [{turns}]}}"#);
        let two = format!(r#"{{"images": ["{cup}"], "messages": [{turns}, {turns}]}}"#);
        fs::write(&file, format!("{one}\n{two}\n")).unwrap();
        let samples = samples(&processor, &file, Labels::Assistant);
        let sample = samples.sample(0).unwrap().unwrap();
        let prompt = vlm::Prompt::Question("What is it?".to_owned());
        let picture = vlm::open_image(&path).unwrap();
        let asked = processor.process(&prompt, &[picture]).unwrap().sequence;
        assert_eq!(sample.sequence.slots[..asked.len()], asked.slots, "{case}");
        assert!(
            sample.labels[..asked.len()]
                .iter()
                .all(|label| *label == IGNORED)
        );
        let answer = &sample.sequence.ids()[asked.len()..];
        assert_eq!(
            processor.tokenizer().decode(answer).trim(),
            "A cup.",
            "{case}"
        );
        assert_eq!(
            sample.labels.last(),
            Some(&i64::from(answer[answer.len() - 1]))
        );
        let error = samples.sample(1).unwrap_err().to_string();
        assert!(error.contains("expected a question of the user"), "{error}");
    }
}

#[test]
fn cutting_leaves_pictures_whole() {
    let processor = processor("llava/clip-llama");
    let mut samples = samples(&processor, &set("conversations.jsonl"), Labels::All);
    let pictures = |sample: &Sample| {
        let slots = sample.sequence.slots.iter();
        slots.filter(|slot| slot.source != Source::Text).count()
    };
    for index in 0..samples.len() {
        samples.max_length = None;
        let whole = samples.sample(index).unwrap().unwrap();
        for max_length in 1..whole.sequence.len() + 2 {
            samples.max_length = Some(max_length);
            samples.too_long = TooLong::Drop;
            let dropped = samples.sample(index).unwrap();
            samples.too_long = TooLong::Fail;
            match (samples.sample(index), dropped) {
                (Ok(Some(cut)), Some(same)) => {
                    assert_eq!(cut.labels, same.labels);
                    assert_eq!(cut.sequence.len(), whole.sequence.len().min(max_length));
                    assert_eq!(cut.labels, whole.labels[..cut.labels.len()]);
                    assert_eq!(pictures(&cut), pictures(&whole));
                    assert!(cut.tokens() > 0);
                }
                (Err(error), None) => {
                    let place = format!("conversations.jsonl: line {}: ", index + 1);
                    assert!(error.to_string().contains(&place), "{error}");
                }
                (fails, drops) => panic!("{fails:?} and {drops:?}"),
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("set.jsonl");
    let cup = folder("images").join("coffee.png");
    let cup = cup.display();
    let lines = [
        (
            r#"{"messages": ["#.to_owned(),
            "line 1: broken JSON: EOF while parsing a list (column 14)",
        ),
        ("7".to_owned(), "line 2: expected a JSON object"),
        (
            r#"{"images": ["gone.png"], "messages": [{"role": "user", "content": "a"}]}"#
                .to_owned(),
            "line 3: {HOME}/gone.png: No such file or directory (os error 2)",
        ),
        (
            r#"{"images": ["set.jsonl"], "messages": [{"role": "user", "content": "a"}]}"#
                .to_owned(),
            "line 4: image {HOME}/set.jsonl: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture",
        ),
        (
            r#"{"messages": [{"role": "bot", "content": "a"}]}"#.to_owned(),
            "line 5: key `messages`: message 1: unknown role `bot`: expected one of system, user, assistant, tool",
        ),
        (
            format!(
                r#"{{"images": ["{cup}"], "messages": [{{"role": "user", "content": [{{"type": "text", "text": "a"}}]}}]}}"#
            ),
            "line 6: 1 image(s) are listed, and 0 image part(s) stand in the text",
        ),
        (
            r#"{"question": "a"}"#.to_owned(),
            "line 7: expected the key `messages`, the keys `prompt` and `completion`, `conversations` or `text`",
        ),
        (
            format!(r#"{{"images": ["{cup}"], "prompt": "a", "completion": "b"}}"#),
            "line 8: the prompt has 0 image placeholder(s) for 1 image(s): image 1 has none",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}]}"#.to_owned(),
            "line 9: there is nothing to learn: the assistant says nothing",
        ),
        (
            r#"{"tools": [{}], "messages": [{"role": "user", "content": "a"}]}"#.to_owned(),
            "line 10: key `tools`: the chat template is given messages alone",
        ),
        (
            r#"{"text": "a"}"#.to_owned(),
            "line 11: key `text`: there is no telling what of a text the assistant says",
        ),
    ];
    let text: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    fs::write(&file, text.join("\n")).unwrap();
    let samples = samples(&processor("llava/clip-llama"), &file, Labels::Assistant);
    assert_eq!(samples.len(), lines.len());
    for (index, (_, message)) in lines.iter().enumerate() {
        let home = home.path().display().to_string();
        let expected = format!("{}: {}", file.display(), message.replace("{HOME}", &home));
        assert_eq!(samples.sample(index).unwrap_err().to_string(), expected);
    }
    fs::write(&file, "\n").unwrap();
    let error = open(&file).unwrap_err().to_string();
    assert!(
        error.ends_with("set.jsonl: expected a record a line, found none"),
        "{error}"
    );
    fs::write(&file, "[ ]").unwrap();
    let error = open(&file).unwrap_err().to_string();
    assert!(
        error.ends_with("expected a list of records, found none in it"),
        "{error}"
    );
}

#[test]
fn steps_are_the_same_on_any_number_of_threads() {
    let processor = processor("idefics3/idefics3");
    // Labels and pixels of the samples of each row of each micro-batch.
    type Parts = Vec<Vec<Vec<(Vec<i64>, Vec<f32>)>>>;
    let parts = |batches: &[MicroBatch]| -> Parts {
        let sample = |sample: &Sample| {
            let pixels = sample.images.iter().flat_map(|image| image.pixels.clone());
            (sample.labels.clone(), pixels.collect())
        };
        let row = |row: &Vec<Sample>| row.iter().map(sample).collect();
        let batch = |batch: &MicroBatch| batch.rows.iter().map(row).collect();
        batches.iter().map(batch).collect()
    };
    let steps = |workers| {
        let config = LoaderConfig {
            accumulation: 2,
            shuffle: Some(5),
            grouping: true,
            packing: Some(256),
            bad_samples: BadSamples::Skip,
            workers,
            ..LoaderConfig::new(2)
        };
        let samples = samples(&processor, &set("conversations.jsonl"), Labels::Assistant);
        let mut loader = Loader::new(samples, config).unwrap();
        let steps = 0..2 * loader.steps_per_epoch();
        let steps: Vec<_> = steps
            .map(|step| parts(&loader.step(step).unwrap()))
            .collect();
        assert!(loader.skipped().is_empty());
        steps
    };
    let alone = steps(0);
    assert_eq!(steps(1), alone);
    assert_eq!(steps(3), alone);
}
