//! Values cross unchanged.

use proptest::prelude::*;
use wippy_wit::Value;

use crate::support::App;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        (u64::MAX / 2 + 1..=u64::MAX).prop_map(Value::Unsigned),
        any::<f64>()
            .prop_filter("compared by bits", |number| !number.is_nan())
            .prop_map(Value::Float),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Value::string),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::array),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..8).prop_map(Value::record),
        ]
    })
}

/// Pairs have no order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Table(table) => {
            let mut table = *table;
            table.array = table.array.into_iter().map(sorted).collect();
            table.pairs = table
                .pairs
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            table
                .pairs
                .sort_by_key(|(key, _)| key.as_str().map(str::to_owned));
            Value::Table(Box::new(table))
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_value_survives_every_kind_of_call(value in value()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let app = App::new();
            app.add("test:through", "local funcs = require('funcs')
                return { main = function(value)
                    local ready = funcs.call('test:echo', value)
                    local later = funcs.call('test:sleep', 1, ready)
                    local kept = funcs.call('test:late', later)
                    return funcs.new():call('test:echo', kept)
                end }");
            let outcome = app.call("test:through", std::slice::from_ref(&value)).await.unwrap();
            prop_assert_eq!(sorted(outcome), sorted(value.clone()));
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn unsigned_integers_are_exact() {
    let app = App::new();
    app.add(
        "test:unsigned",
        "return { main = function(a, b)
            local ok, why = pcall(function() return a + a end)
            return { tostring(a), a == b, a > b, a - b, a // 2, a % 10, ok, 1 < a, a - (a - 1) }
        end }",
    );
    let arguments = [Value::Unsigned(u64::MAX), Value::Unsigned(u64::MAX - 5)];
    let outcome = app.call("test:unsigned", &arguments).await.unwrap();
    let shown = wippy_wit::json::from_value(&outcome).unwrap().to_string();
    insta::assert_snapshot!(shown, @r#"["18446744073709551615",false,true,5,9223372036854775807,5,false,true,1]"#);
}
