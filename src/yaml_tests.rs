//! Facts about the YAML front end.

use super::*;

fn tree(text: &str) -> Node {
    parse(Path::new("t.yaml"), text).unwrap_or_else(|e| panic!("{e}"))
}

fn errors(text: &str) -> String {
    parse(Path::new("t.yaml"), text).unwrap_err().to_string()
}

#[test]
fn on_and_off_are_strings_and_numbers_keep_their_text() {
    let t = tree("a: on\nb: 0.90\nc: '3'\nd: 0x10\ne:\nf: true\n");
    assert_eq!(t.get("a").and_then(Node::str), Some("on"));
    assert_eq!(t.get("b").and_then(Node::scalar), Some(Scalar::Float(0.9)));
    assert_eq!(t.get("b").and_then(Node::text), Some("0.90"));
    assert_eq!(t.get("c").and_then(Node::scalar), Some(Scalar::Str("3")));
    assert_eq!(t.get("d").and_then(Node::scalar), Some(Scalar::Int(16)));
    assert!(t.get("e").is_some_and(Node::is_null));
    assert_eq!(t.get("f").and_then(Node::scalar), Some(Scalar::Bool(true)));
}

#[test]
fn a_json_file_is_told_its_mistakes_in_the_words_of_json() {
    let text = "{\n  \"a\": [1, 2\n  \"b\": 3\n}\n";
    let told = parse(Path::new("own.json"), text).unwrap_err().to_string();
    assert!(told.contains("not valid JSON") && told.contains("own.json:3") && told.contains("commas"), "{told}");
    assert!(!told.contains("YAML") && !told.contains("indentation"), "{told}");
    let told = parse(Path::new("own.yaml"), text).unwrap_err().to_string();
    assert!(told.contains("not valid YAML"), "{told}");
}

#[test]
fn a_node_is_the_json_that_it_means() {
    let t = tree("a: [1, 2.5, on, '3', true, ~]\n7: {b: }\n");
    assert_eq!(t.json(), serde_json::json!({"a": [1, 2.5, "on", "3", true, null], "7": {"b": null}}));
}

#[test]
fn comments_anywhere_change_nothing() {
    let t = tree("# above\na: # beside\n  # inside\n  - x # behind\n  # between\n  - y\n# below\n");
    let items: Vec<_> = t.get("a").and_then(Node::seq).unwrap().iter().filter_map(Node::text).collect();
    assert_eq!(items, ["x", "y"]);
}

#[test]
fn several_documents_are_read_one_by_one() {
    let nodes = parse_documents(Path::new("t.yaml"), "a: 1\n---\nb: 2\n").unwrap();
    assert_eq!(nodes.len(), 2);
    assert!(parse_documents(Path::new("t.yaml"), "# nothing\n").unwrap().is_empty());
}

#[test]
fn places_count_from_one_and_span_the_scalar() {
    let t = tree("a:\n  b: hello\n");
    let b = t.get("a").and_then(|a| a.get("b")).unwrap();
    let place = b.span.place();
    assert_eq!((place.line, place.column, place.length), (2, 6, 5));
}

#[test]
fn the_first_merge_source_wins_and_own_keys_win_over_both() {
    let t = tree("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 9\n");
    let z = t.get("z").unwrap();
    let get = |k: &str| z.get(k).and_then(Node::text).map(str::to_owned);
    assert_eq!((get("a"), get("b"), get("c")), (Some("9".into()), Some("1".into()), Some("2".into())));
}

#[test]
fn a_second_merge_key_is_a_duplicate() {
    let text = errors("x: &x {a: 1}\ny: &y {b: 1}\nz:\n  <<: *x\n  <<: *y\n");
    assert!(text.contains("t.yaml:5:3") && text.contains("<<: [*a, *b]"), "{text}");
}

#[test]
fn custom_tags_are_kept() {
    let t = tree("command: !reset null\nports: !override\n  - 1\n");
    assert_eq!(t.get("command").and_then(|n| n.tag.as_deref()), Some("reset"));
    assert_eq!(t.get("ports").and_then(|n| n.tag.as_deref()), Some("override"));
}

#[test]
fn wrong_yaml_names_the_line() {
    assert!(errors("a: 1\na: 2\n").contains("t.yaml:2:1"));
    assert!(errors("a: [1, 2\nb: 3\n").contains("t.yaml:"));
    assert!(errors("").contains("empty"));
    assert!(errors("a: 1\n---\nb: 2\n").contains("more than one"));
    assert!(errors("a:\n  <<: [1]\n").contains("merges a mapping"));
}

#[test]
fn aliases_that_multiply_are_stopped() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(errors(&text).contains("aliases expand"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_tree_or_a_diagnostic_and_never_a_panic(text in "[a-z:\\-\\[\\]{}&*!'\"|> \n<]{0,80}") {
        let _ = parse(Path::new("t.yaml"), &text);
    }
}
