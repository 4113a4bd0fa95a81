//! Each kind of tokenizer equals the reference on texts with traps: see `reference/tokenizer_kinds.py`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vlm_text::Tokenizer;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

const KINDS: [&str; 4] = [
    "byte_level",
    "byte_fallback",
    "byte_fallback_prepend",
    "unigram",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

fn load(kind: &str) -> Tokenizer {
    Tokenizer::new(tokenizers::Tokenizer::from_file(folder().join(format!("{kind}.json"))).unwrap())
}

fn check(kind: &str) {
    let tokenizer = load(kind);
    let cases = std::fs::read_to_string(folder().join(format!("{kind}.expected.json"))).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let ids = tokenizer.encode(&case.text, true).unwrap();
        assert_eq!(ids, case.ids, "{kind}: {:?}", case.text);
        assert_eq!(
            tokenizer.decode(&ids),
            case.decoded,
            "{kind}: {:?}",
            case.text
        );
        let mut stream = tokenizer.stream();
        let mut streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
        streamed += &stream.finish();
        assert_eq!(streamed, case.decoded, "{kind}, streamed: {:?}", case.text);
    }
}

#[test]
fn byte_level() {
    check("byte_level");
}

#[test]
fn byte_fallback() {
    check("byte_fallback");
}

#[test]
fn byte_fallback_prepend() {
    check("byte_fallback_prepend");
}

#[test]
fn unigram() {
    check("unigram");
}

#[test]
fn literal_text_writes_no_added_token() {
    for kind in KINDS {
        let tokenizer = load(kind);
        let image = tokenizer.token_id("<image>").unwrap();
        assert!(tokenizer.encode("<image>", false).unwrap().contains(&image));
        let literal = tokenizer.encode_continued("<image>", true).unwrap();
        assert!(!literal.contains(&image), "{kind}");
        // Unigram has no bytes to fall back on for `<`.
        if kind != "unigram" {
            assert_eq!(tokenizer.decode(&literal).trim(), "<image>", "{kind}");
        }
    }
}

#[test]
fn ids_of_whole_characters_stream_to_what_they_decode_to() {
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    for kind in KINDS {
        let tokenizer = load(kind);
        let vocab = tokenizer.vocab_size() as u32;
        let mut whole = 0;
        for _ in 0..2000 {
            let count = random.random_range(1..6);
            let ids: Vec<u32> = (0..count).map(|_| random.random_range(0..vocab)).collect();
            let mut stream = tokenizer.stream();
            let mut streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
            streamed += &stream.finish();
            let decoded = tokenizer.decode(&ids);
            if !decoded.contains('\u{fffd}') {
                whole += 1;
                assert_eq!(streamed, decoded, "{kind}: {ids:?}");
            }
        }
        assert!(whole > 100, "{kind}: {whole}");
    }
}

#[test]
fn tokens_know_their_places() {
    let texts = [
        "Zwölf Boxkämpfer — 漢字 and 🙂👩‍🚀!\n\n  two  spaces",
        "<s>USER: <image>\nWhat?</s>",
    ];
    for kind in KINDS {
        let tokenizer = load(kind);
        for text in texts {
            let whole = tokenizer.encode_places(text, true).unwrap();
            let ids: Vec<u32> = whole.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, tokenizer.encode(text, true).unwrap(), "{kind}");
            for literal in [false, true] {
                let continued = tokenizer.encode_places_continued(text, literal).unwrap();
                for (_, bytes) in continued.iter().chain(&whole) {
                    assert!(text.get(bytes.clone()).is_some(), "{kind}: {bytes:?}");
                }
                // White space may be a normaliser's; every other letter is some token's.
                let covered = |at: usize| continued.iter().any(|(_, bytes)| bytes.contains(&at));
                for (at, letter) in text.char_indices() {
                    assert!(
                        letter.is_whitespace() || covered(at),
                        "{kind}: {letter} at {at}"
                    );
                }
            }
        }
        // No space comes between a text and what continues it.
        if kind != "unigram" {
            let parts = ["A", "cup"];
            let first = tokenizer.encode(parts[0], false).unwrap();
            let second = tokenizer.encode_continued(parts[1], false).unwrap();
            let joined = tokenizer.decode(&[first, second].concat());
            assert_eq!(joined.trim_start(), "Acup", "{kind}");
        }
        // The places are those of the text itself, not of the line break that stands before it.
        let places = tokenizer.encode_places_continued("cup", false).unwrap();
        assert_eq!(places[0].1.start, 0, "{kind}");
        assert_eq!(places.last().unwrap().1.end, 3, "{kind}");
    }
}
