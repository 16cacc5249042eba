//! `env`: what scripts may read and set, and what they may not.

use std::sync::Arc;

use wippy_security::ErrorKind;

use crate::{
    support::App,
    world::{Known, only, shown},
};

fn app() -> (App, Arc<Known>) {
    let known = Arc::new(Known::default());
    for (name, value) in [("HOST", "localhost"), ("SECRET", "xyzzy")] {
        known.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
    let mut app = App::new();
    app.services.world.variables = Some(known.clone());
    (app, known)
}

#[tokio::test]
async fn variables_are_read_and_set() {
    let (app, known) = app();
    let body = "
        local env = require('env')
        local missing, why = env.get('NOTHING')
        local empty, reason = env.get('')
        return { env.get('HOST'), env.set('PORT', '8080'), env.get('PORT'), env.get_all(),
            missing == nil, why:kind(), empty == nil, reason:kind() }";
    let value = app.run(body).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["localhost",true,"8080",{"HOST":"localhost","PORT":"8080","SECRET":"xyzzy"},true,"NOT_FOUND",true,"INVALID"]"#);
    assert_eq!(known.0.lock().unwrap()["PORT"], "8080");
}

#[tokio::test]
async fn only_what_is_permitted_is_seen() {
    let (app, known) = app();
    app.add(
        "test:script",
        "return { main = function()
            local env = require('env')
            local secret, why = env.get('SECRET')
            local done, refused = env.set('HOST', 'evil')
            return { env.get('HOST'), secret == nil, why:kind(), why:message(), done == nil, refused:message(), env.get_all() }
        end }",
    );
    let context = only(&app, &[("env.get", "HOST")]);
    let value = app.call_in(&context, "test:script", &[]).await.unwrap();
    insta::assert_snapshot!(shown(&value), @r#"["localhost",true,"PERMISSION_DENIED","actor `ada` may not do `env.get` on `SECRET`",true,"actor `ada` may not do `env.set` on `HOST`",{"HOST":"localhost"}]"#);
    assert_eq!(known.0.lock().unwrap()["HOST"], "localhost");
}

#[tokio::test]
async fn a_program_without_variables_says_so() {
    let error = App::new()
        .run("return require('env').get('HOST')")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.message(),
        "environment variables are not available in this program"
    );
}
