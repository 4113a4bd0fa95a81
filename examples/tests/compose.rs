//! The examples that compose models run. What they promise they assert themselves: that a batch answers as its
//! pictures alone, that a loss falls and a colour is named.

#[path = "../examples/compose_fuyu.rs"]
mod compose_fuyu;
#[path = "../examples/compose_kosmos2.rs"]
mod compose_kosmos2;
#[path = "../examples/compose_llava.rs"]
mod compose_llava;
#[path = "../examples/compose_new.rs"]
mod compose_new;

#[test]
fn a_llava() {
    compose_llava::main().unwrap();
}

#[test]
fn a_model_without_an_encoder() {
    compose_fuyu::main().unwrap();
}

#[test]
fn a_kosmos2() {
    compose_kosmos2::main().unwrap();
}

#[test]
fn a_new_architecture_learns() {
    compose_new::main().unwrap();
}
