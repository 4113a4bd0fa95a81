//! Messages keep the JSON form they came in.

use serde_json::{Value, json};
use vlm_chat_template::{Content, Message, Part, PartKind};

#[test]
fn json_survives_a_round_trip() {
    for text in [
        r#"{"role":"user","content":"Hi"}"#,
        r#"{"content":"Hi","role":"user"}"#,
        r#"{"a":1,"content":"Hi","b":2,"role":"user","c":3}"#,
        r#"{"a":1,"b":2,"role":"user"}"#,
        r#"{"role":"user","a":1,"b":null}"#,
        r#"{"role":"user","content":[{"type":"image"},{"text":"t","type":"text","cache":true},"bare",7]}"#,
        r#"{"role":"tool","content":{"z":1,"a":[null]}}"#,
        r#"{"name":"n","content":[],"role":""}"#,
    ] {
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
    }
}

#[test]
fn a_message_needs_a_role() {
    let fails = |json: Value| {
        serde_json::from_value::<Message>(json)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        fails(json!({"content": "x"})),
        "a message should have a `role`"
    );
    assert_eq!(
        fails(json!({"role": 1})),
        "`role` should be a string, found 1"
    );
}

#[test]
fn null_content_is_none() {
    let message: Message = serde_json::from_str(r#"{"role":"assistant","content":null}"#).unwrap();
    assert_eq!(message.content, None);
    assert_eq!(message.parts(), []);
}

#[test]
fn keys_can_be_changed_after_reading() {
    let text = r#"{"a":1,"b":2,"role":"user","content":"x"}"#;
    let mut message: Message = serde_json::from_str(text).unwrap();
    message.extra.shift_remove("a");
    message.content = Some("y".into());
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(text, r#"{"b":2,"role":"user","content":"y"}"#);
    message.extra.clear();
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(text, r#"{"role":"user","content":"y"}"#);
}

#[test]
fn images_go_before_the_text_in_their_order() {
    let message = Message::user("Which?")
        .with_image_path("a.png")
        .with_image_url("http://b")
        .with_part(Part::text("?"));
    let kinds: Vec<_> = message.parts().iter().map(Part::kind).collect();
    let expected = [
        PartKind::Image(Some("a.png")),
        PartKind::Image(Some("http://b")),
        PartKind::Text("Which?"),
        PartKind::Text("?"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn parts_of_other_kinds_are_kept() {
    let audio = json!({"type": "audio", "audio": "a.wav"});
    let Content::Parts(parts) = Content::from(
        json!([audio, {"type": "text"}, {"type": "image_url", "image_url": {"url": "u"}}]),
    ) else {
        panic!("a list is parts");
    };
    assert_eq!(parts[0].kind(), PartKind::Other(&audio));
    assert_eq!(parts[1].kind(), PartKind::Other(&json!({"type": "text"})));
    assert_eq!(parts[2].kind(), PartKind::Image(Some("u")));
}
