//! `base64`.

use crate::support::App;

#[tokio::test]
async fn encodes_and_decodes() {
    let expressions = r"
        base64.encode('Hello, World!')
        base64.encode('')
        base64.encode('\0\255\254')
        base64.decode('SGVsbG8sIFdvcmxkIQ==')
        base64.decode('')
        base64.decode(base64.encode('\0\255')) == '\0\255'
        base64.encode(42)
        base64.decode({})
        base64.decode('SGVsbG8sIFdvcmxkIQ=')
        base64.decode('SGV-')
        base64.decode('SGVsbG8')
    ";
    insta::assert_snapshot!(
        App::new()
            .transcript("local base64 = require('base64')", expressions)
            .await
    );
}
