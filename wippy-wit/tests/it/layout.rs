//! Layouts agree with those of the component model's own tools.

use proptest::prelude::*;
use wippy_wit::{Document, Field, Kind, Node, OptionForm, Plan, Type, arbitrary};
use wit_parser::{
    FunctionKind, Resolve, SizeAlign, TypeDefKind, WorldItem,
    abi::{FlatTypes, WasmType},
};

proptest! {
    #![proptest_config(crate::cases(2000))]

    #[test]
    fn sizes_offsets_and_flat_counts(ty in arbitrary::ty()) {
        let text = arbitrary::document(&ty);
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let plan = Plan::new(document.functions[0].clone());
        prop_assert_eq!(&plan.params[0].node.size, &plan.result.as_ref().unwrap().size);

        let resolve = &document.resolve;
        let mut sizes = SizeAlign::default();
        sizes.fill(resolve);
        let world = &resolve.worlds[document.world];
        let Some(WorldItem::Function(function)) = world.exports.values().next() else { panic!("no function") };
        prop_assert!(matches!(function.kind, FunctionKind::Freestanding));
        check(resolve, &sizes, &function.params[0].ty, &plan.params[0].node);
        check(resolve, &sizes, &function.result.unwrap(), &Node::new(&ty));
        prop_assert!(!plan.params[0].node.has_error_contexts());
        prop_assert_eq!(&document.functions[0].params[0].1, &ty);
    }
}

/// Compares everything about one type and its parts.
fn check(resolve: &Resolve, sizes: &SizeAlign, ty: &wit_parser::Type, node: &Node) {
    check_part(resolve, sizes, ty, node, false);
}

/// The same, for a type that is perhaps that of the values of a map.
fn check_part(resolve: &Resolve, sizes: &SizeAlign, ty: &wit_parser::Type, node: &Node, is_entry: bool) {
    assert_eq!(sizes.size(ty).size_wasm32(), node.size as usize, "{node:?}");
    assert_eq!(sizes.align(ty).align_wasm32(), node.align as usize, "{node:?}");
    assert_eq!(flat_count(resolve, ty), node.flat, "{node:?}");
    let wit_parser::Type::Id(id) = ty else { return };
    match (&resolve.types[*id].kind, &node.kind) {
        (TypeDefKind::Record(record), Kind::Record(fields)) => {
            check_fields(
                resolve,
                sizes,
                &record.fields.iter().map(|field| field.ty).collect::<Vec<_>>(),
                fields,
            );
        }
        (TypeDefKind::Tuple(tuple), Kind::Tuple(fields)) => {
            check_fields(resolve, sizes, &tuple.types, fields);
        }
        (TypeDefKind::List(element), Kind::List(node))
        | (TypeDefKind::FixedLengthList(element, _), Kind::FixedList(node, _)) => {
            check(resolve, sizes, element, node);
        }
        (TypeDefKind::Map(key, value), Kind::Map(entry)) => {
            let offsets = sizes.field_offsets([key, value]);
            let offsets: Vec<_> = offsets.iter().map(|(offset, _)| offset.size_wasm32()).collect();
            assert_eq!(offsets, [0, entry.value_offset as usize]);
            let whole = sizes.record([key, value]);
            assert_eq!(whole.size.size_wasm32(), entry.size as usize);
            assert_eq!(whole.align.align_wasm32(), entry.align as usize);
            check(resolve, sizes, key, &entry.key);
            check_part(resolve, sizes, value, &entry.value, true);
        }
        (TypeDefKind::List(element), Kind::Bytes) => assert_eq!(*element, wit_parser::Type::U8),
        (
            TypeDefKind::Option(some),
            Kind::Option {
                some: node,
                offset,
                form,
            },
        ) => {
            let expected = sizes
                .payload_offset(wit_parser::Int::U8, [Some(some)])
                .size_wasm32();
            assert_eq!(expected, *offset as usize);
            match form {
                OptionForm::Bare => assert!(!node.nilable),
                OptionForm::Wrapped => assert!(node.nilable),
                OptionForm::Marked => assert!(is_entry),
            }
            check(resolve, sizes, some, node);
        }
        (TypeDefKind::Result(result), Kind::Result { ok, err, offset }) => {
            let expected =
                sizes.payload_offset(wit_parser::Int::U8, [result.ok.as_ref(), result.err.as_ref()]);
            assert_eq!(expected.size_wasm32(), *offset as usize);
            for (ty, node) in [(&result.ok, ok), (&result.err, err)] {
                assert_eq!(ty.is_some(), node.is_some());
                if let (Some(ty), Some(node)) = (ty, node) {
                    check(resolve, sizes, ty, node);
                }
            }
        }
        (TypeDefKind::Variant(variant), Kind::Variant { cases, tag, offset }) => {
            let expected =
                sizes.payload_offset(variant.tag(), variant.cases.iter().map(|case| case.ty.as_ref()));
            assert_eq!(expected.size_wasm32(), *offset as usize);
            assert_eq!(int_size(variant.tag()), *tag);
            for (expected, case) in variant.cases.iter().zip(cases) {
                assert_eq!(expected.name, case.key.name());
                if let (Some(ty), Some(node)) = (&expected.ty, &case.payload) {
                    check(resolve, sizes, ty, node);
                }
            }
        }
        (TypeDefKind::Enum(names), Kind::Enum { cases, tag }) => {
            assert_eq!((names.cases.len(), int_size(names.tag())), (cases.len(), *tag));
        }
        (TypeDefKind::Flags(names), Kind::Flags { flags }) => assert_eq!(names.flags.len(), flags.len()),
        (kind, _) => panic!("{} became {node:?}", kind.as_str()),
    }
}

fn check_fields(resolve: &Resolve, sizes: &SizeAlign, types: &[wit_parser::Type], fields: &[Field]) {
    let offsets: Vec<_> = sizes
        .field_offsets(types)
        .into_iter()
        .map(|(offset, _)| offset.size_wasm32())
        .collect();
    assert_eq!(
        offsets,
        fields
            .iter()
            .map(|field| field.offset as usize)
            .collect::<Vec<_>>()
    );
    for (ty, field) in types.iter().zip(fields) {
        check(resolve, sizes, ty, &field.node);
    }
}

fn flat_count(resolve: &Resolve, ty: &wit_parser::Type) -> usize {
    let mut storage = vec![WasmType::I32; 20_000];
    let mut flat = FlatTypes::new(&mut storage);
    assert!(resolve.push_flat(ty, &mut flat));
    flat.to_vec().len()
}

fn int_size(int: wit_parser::Int) -> u32 {
    match int {
        wit_parser::Int::U8 => 1,
        wit_parser::Int::U16 => 2,
        wit_parser::Int::U32 => 4,
        wit_parser::Int::U64 => 8,
    }
}

#[test]
fn many_cases_need_a_wider_discriminant() {
    for (count, size) in [(1, 1), (256, 1), (257, 2)] {
        let cases = (0..count).map(|index| format!("c{index}").into()).collect();
        assert_eq!(
            Node::new(&Type::Enum {
                name: "e".into(),
                cases
            })
            .size,
            size,
            "{count} cases"
        );
    }
}

#[test]
fn huge_types_saturate() {
    let inner = Type::FixedList(Type::U64.into(), u32::MAX);
    let node = Node::new(&Type::FixedList(inner.into(), u32::MAX));
    assert_eq!(node.size, u32::MAX);
}
