//! What must hold of generation whatever the model and the prompts: small random ones.

mod common;

use std::{ops::ControlFlow, time::Duration};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor, TensorData, activation::log_softmax, s},
};
use common::{devices, script::Script};
use rand::{Rng, SeedableRng, rngs::StdRng};
use vlm_core::{Error, Sequence, VisionLanguageModel, VlmInput, nn::KvCache};
use vlm_text::{
    BeamConfig, CausalLm, CausalLmConfig, Decoding, EarlyStopping, EndReason, Generated,
    GenerationConfig, SamplingConfig, generate, generate_with, prefill, prefill_rest,
};

const VOCAB: usize = 24;

/// Fresh weights are so small that a token hardly feels its neighbours.
struct Louder;

impl ModuleMapper for Louder {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match D {
            1 => param,
            _ => param.map(|values| values * 4.0),
        }
    }
}

/// A decoder of random shape: grouped queries, windows, biases, tied heads or not.
fn model(random: &mut StdRng, vocab: usize, device: &Device) -> CausalLm {
    device.seed(random.random());
    let groups = random.random_range(1..=2);
    let heads = groups * random.random_range(1..=3);
    let layers = random.random_range(1..=3);
    let window = |_| {
        let size = random.random_range(2..6);
        random.random_bool(0.3).then_some(size)
    };
    let sliding_windows: Vec<Option<usize>> = (0..layers).map(window).collect();
    CausalLmConfig::new(vocab, heads * 4, 24, layers, heads)
        .with_num_key_value_heads(Some(heads / groups))
        .with_qkv_bias(random.random())
        .with_tie_word_embeddings(random.random())
        .with_sliding_windows(sliding_windows)
        .init(device)
        .map(&mut Louder)
}

fn prompt(random: &mut StdRng, vocab: usize) -> Vec<u32> {
    let length = random.random_range(1..9);
    (0..length)
        .map(|_| random.random_range(0..vocab as u32))
        .collect()
}

fn sequences(prompts: &[Vec<u32>]) -> Vec<Sequence> {
    prompts.iter().map(|ids| Sequence::text(ids)).collect()
}

/// Any combination of steps; some rows end early.
fn config(random: &mut StdRng) -> GenerationConfig {
    let mut config = GenerationConfig::new(random.random_range(1..14));
    config.eos_token_ids = (0..random.random_range(0..5))
        .map(|_| random.random_range(0..VOCAB as u32))
        .collect();
    let sampling = &mut config.sampling;
    if random.random() {
        sampling.repetition_penalty = random.random_range(0.5..2.0);
        sampling.presence_penalty = random.random_range(-1.0..1.0);
        sampling.frequency_penalty = random.random_range(-1.0..1.0);
        sampling.no_repeat_ngram_size = Some(random.random_range(2..4));
    }
    if random.random() {
        sampling.temperature = random.random_range(0.3..3.0);
        sampling.top_k = Some(random.random_range(1..VOCAB));
        sampling.top_p = random.random_range(0.3..1.0);
        sampling.min_p = random.random_range(0.0..0.3);
        sampling.seed = random.random();
        config.num_return_sequences = random.random_range(1..4);
    } else if random.random() {
        let num_beams = random.random_range(2..5);
        config.num_return_sequences = 1;
        config.beams = BeamConfig {
            num_beams,
            length_penalty: random.random_range(-1.0..2.0),
            early_stopping: [
                EarlyStopping::Heuristic,
                EarlyStopping::AtOnce,
                EarlyStopping::Never,
            ][random.random_range(0..3)],
        };
    }
    config
}

#[test]
fn rows_of_a_batch_answer_as_they_do_alone() {
    let mut random = StdRng::seed_from_u64(31);
    let device = Device::flex();
    let mut ends = Vec::new();
    for round in 0..40 {
        let model = model(&mut random, VOCAB, &device);
        let config = config(&mut random);
        let count = random.random_range(1..5);
        let prompts: Vec<_> = (0..count).map(|_| prompt(&mut random, VOCAB)).collect();
        let prompts = sequences(&prompts);
        let together = generate(&model, &prompts, None, &config, &device).unwrap();
        let alone: Vec<Generated> = prompts
            .chunks(1)
            .flat_map(|prompt| generate(&model, prompt, None, &config, &device).unwrap())
            .collect();
        assert_eq!(together.len(), count * config.num_return_sequences);
        for (row, (together, alone)) in together.iter().zip(&alone).enumerate() {
            let name = format!("round {round}, row {row}, {config:?}");
            assert_eq!(together.tokens, alone.tokens, "{name}");
            assert_eq!(together.end, alone.end, "{name}");
            ends.push((together.end, together.tokens.len()));
        }
    }
    // Rows left at several steps, for both reasons.
    let ended = |reason| ends.iter().filter(|(end, _)| *end == reason).count();
    assert!(ended(EndReason::EndOfSequence) > 10, "{ends:?}");
    assert!(ended(EndReason::Length) > 10, "{ends:?}");
}

/// The best next token, everything read anew.
fn best(model: &CausalLm, ids: &[u32], device: &Device) -> u32 {
    let input = VlmInput::left_padded(&[Sequence::text(ids)], None, device);
    let hidden = VisionLanguageModel::forward(model, input, None);
    let logits = VisionLanguageModel::logits(model, hidden.slice(s![.., ids.len() - 1.., ..]));
    let best: Vec<i64> = logits
        .argmax(2)
        .into_data()
        .convert::<i64>()
        .try_into_vec()
        .unwrap();
    best[0] as u32
}

#[test]
fn a_cache_changes_nothing_wherever_the_prompt_was_cut() {
    let mut random = StdRng::seed_from_u64(32);
    let device = Device::flex();
    for round in 0..25 {
        let model = model(&mut random, VOCAB, &device);
        let ids = prompt(&mut random, VOCAB);
        let config = GenerationConfig::new(6);
        let mut expected = ids.clone();
        for _ in 0..6 {
            expected.push(best(&model, &expected, &device));
        }
        let expected = &expected[ids.len()..];
        let answers = generate(
            &model,
            &sequences(std::slice::from_ref(&ids)),
            None,
            &config,
            &device,
        );
        assert_eq!(answers.unwrap()[0].tokens, expected, "round {round}");
        // A cache that holds a beginning of the prompt, and beyond it another prompt's tokens.
        let known = random.random_range(0..ids.len());
        let other = [&ids[..known], &prompt(&mut random, VOCAB)[..]].concat();
        let mut cache = KvCache::new(40);
        cache = prefill_rest(&model, &Sequence::text(&other), None, cache, &device)
            .unwrap()
            .cache;
        cache.truncate(known);
        let prefilled = prefill_rest(&model, &Sequence::text(&ids), None, cache, &device).unwrap();
        assert_eq!(prefilled.hidden.dims()[1], ids.len() - known);
        let proceed = |_, _| ControlFlow::Continue(());
        let answers = generate_with(&model, prefilled, &config, proceed).unwrap();
        assert_eq!(answers[0].tokens, expected, "round {round}, cut at {known}");
    }
}

/// Every way to go on, with the sum of its log-probabilities: three tokens, fewer where 0 ends it.
fn all_answers(model: &CausalLm, prompt: &[u32], device: &Device) -> Vec<(Vec<u32>, usize, f64)> {
    const DEEPEST: usize = 3;
    let mut open = vec![(Vec::new(), 0.0)];
    let mut whole = Vec::new();
    for length in 1..=DEEPEST {
        let mut next = Vec::new();
        for (tokens, sum) in open {
            let ids = [prompt, &tokens].concat();
            let input = VlmInput::left_padded(&[Sequence::text(&ids)], None, device);
            let hidden = VisionLanguageModel::forward(model, input, None);
            let last = hidden.slice(s![.., ids.len() - 1.., ..]);
            let scores = log_softmax(VisionLanguageModel::logits(model, last), 2);
            let scores: Vec<f32> = scores.into_data().try_into_vec().unwrap();
            for (token, score) in scores.iter().enumerate() {
                let sum: f64 = sum + f64::from(*score);
                match token {
                    0 => whole.push((tokens.clone(), length, sum)),
                    _ => {
                        let tokens = [&tokens[..], &[token as u32]].concat();
                        next.push((tokens, sum));
                    }
                }
            }
        }
        open = next;
    }
    whole.extend(open.into_iter().map(|(tokens, sum)| (tokens, DEEPEST, sum)));
    whole
}

#[test]
fn a_search_that_is_wide_enough_finds_the_best_of_all() {
    let mut random = StdRng::seed_from_u64(33);
    let device = Device::flex();
    for round in 0..8 {
        let model = model(&mut random, 4, &device);
        let prompt = prompt(&mut random, 4);
        let length_penalty: f64 = random.random_range(-1.0..2.0);
        let mut expected = all_answers(&model, &prompt, &device);
        let score =
            |(_, length, sum): &(Vec<u32>, usize, f64)| sum / (*length as f64).powf(length_penalty);
        expected.sort_by(|a, b| score(b).total_cmp(&score(a)));
        let mut config = GenerationConfig::new(3).with_beams(BeamConfig {
            length_penalty,
            early_stopping: EarlyStopping::Never,
            ..BeamConfig::new(64)
        });
        config.eos_token_ids = vec![0];
        config.num_return_sequences = expected.len();
        let answers = generate(&model, &sequences(&[prompt]), None, &config, &device).unwrap();
        for (answer, expected) in answers.iter().zip(&expected) {
            let found = f64::from(answer.score.unwrap());
            let error = (found - score(expected)).abs();
            assert!(error < 1e-4, "round {round}: {answer:?}, {expected:?}");
        }
        assert_eq!(answers[0].tokens, expected[0].0, "round {round}");
    }
}

#[test]
fn equal_scores_give_equal_draws_on_every_device() {
    // A model that computes nothing: the scores of token 3 are 9, all others' 0.
    let draws = devices().map(|device| {
        let model = Script::new(&[3; 30], 6, 2, &device);
        let mut config = GenerationConfig::new(30).with_sampling(SamplingConfig {
            temperature: 6.0,
            top_p: 0.95,
            min_p: 0.02,
            seed: 5,
            ..SamplingConfig::greedy()
        });
        config.num_return_sequences = 4;
        let prompts = sequences(&[vec![0, 1]]);
        generate(&model, &prompts, None, &config, &device).unwrap()
    });
    assert_eq!(draws[0], draws[1]);
    assert_eq!(draws[0], draws[2]);
    let [first, second, ..] = &draws[0][..] else {
        panic!("four answers are asked for");
    };
    assert_ne!(first, second);
    assert!(first.tokens.iter().any(|token| *token != 3));
}

#[test]
fn limits_are_kept_and_named() {
    let device = Device::flex();
    let mut random = StdRng::seed_from_u64(34);
    let model = model(&mut random, VOCAB, &device);
    let prompts = sequences(&[vec![1, 2, 3], vec![4]]);
    let reads = |tokens: usize| {
        prefill(
            &model,
            &prompts,
            None,
            &GenerationConfig::new(tokens),
            &device,
        )
    };
    // The last token is chosen and not read, so one fewer has to fit.
    let decoding = |tokens: usize| {
        let config = GenerationConfig::new(tokens);
        Decoding::new(&model, reads(5).unwrap(), &config).map(drop)
    };
    decoding(6).unwrap();
    for tokens in [7, usize::MAX] {
        match decoding(tokens).unwrap_err() {
            Error::TooLong {
                needed, allowed, ..
            } => {
                assert_eq!((needed, allowed), (3_usize.saturating_add(tokens - 1), 8));
            }
            other => panic!("{other}"),
        }
    }
    for beams in [1, 3] {
        let mut config = GenerationConfig::new(0).with_beams(BeamConfig::new(beams));
        let answers = generate(&model, &prompts, None, &config, &device).unwrap();
        assert_eq!(answers.len(), 2);
        for answer in answers {
            assert_eq!((answer.tokens.len(), answer.end), (0, EndReason::Length));
        }
        config.max_new_tokens = 9;
        config.max_time = Some(Duration::ZERO);
        for answer in generate(&model, &prompts, None, &config, &device).unwrap() {
            assert_eq!((answer.tokens.len(), answer.end), (1, EndReason::Time));
        }
    }
    for (sampling, message) in [
        (
            SamplingConfig {
                temperature: -1.0,
                ..SamplingConfig::greedy()
            },
            "temperature: expected a number from 0, found -1",
        ),
        (
            SamplingConfig {
                top_p: 1.5,
                ..SamplingConfig::greedy()
            },
            "top_p: expected a number from 0 to 1, found 1.5",
        ),
        (
            SamplingConfig {
                min_p: f32::NAN,
                ..SamplingConfig::greedy()
            },
            "min_p: expected a number from 0 to 1, found NaN",
        ),
        (
            SamplingConfig {
                repetition_penalty: 0.0,
                ..SamplingConfig::greedy()
            },
            "repetition_penalty: expected a number above 0, found 0",
        ),
        (
            SamplingConfig {
                frequency_penalty: f32::INFINITY,
                ..SamplingConfig::greedy()
            },
            "frequency_penalty: expected a number, found inf",
        ),
    ] {
        let config = GenerationConfig::new(2).with_sampling(sampling);
        let error = generate(&model, &prompts, None, &config, &device).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn padding_is_read_by_nobody() {
    let mut random = StdRng::seed_from_u64(35);
    let device = Device::flex();
    for _ in 0..10 {
        let model = model(&mut random, VOCAB, &device);
        let ids = prompt(&mut random, VOCAB);
        let long: Vec<u32> = (0..ids.len() + 4).map(|i| (i % VOCAB) as u32).collect();
        let hidden = |prompts: &[Vec<u32>]| -> Tensor<3> {
            let input = VlmInput::left_padded(&sequences(prompts), None, &device);
            VisionLanguageModel::forward(&model, input, None)
        };
        let alone = hidden(std::slice::from_ref(&ids)).into_data();
        let padded = hidden(&[long, ids]).slice(s![1..2, 4.., ..]).into_data();
        let values = |data: TensorData| -> Vec<f32> { data.try_into_vec().unwrap() };
        for (a, b) in values(alone).into_iter().zip(values(padded)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}
