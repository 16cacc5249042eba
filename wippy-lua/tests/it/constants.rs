//! Constants of modules: each name with its value.

use crate::support::{App, text};

/// Compares a table of constants with lines of `NAME value`, in any order; nothing else may be in it but tables and functions.
async fn compare(table: &str, expected: &str) {
    let body = format!(
        "local lines = {{}}
        for name, value in pairs({table}) do
            if type(value) == 'string' or type(value) == 'number' then lines[#lines + 1] = name .. ' ' .. value end
        end
        table.sort(lines)
        return table.concat(lines, '\\n')"
    );
    let found = App::new().run(&body).await.unwrap();
    let mut expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    expected.sort_unstable();
    assert_eq!(text(&found), expected.join("\n"), "{table}");
}

#[tokio::test]
async fn of_http() {
    compare(
        "require('http').METHOD",
        "GET GET
        POST POST
        PUT PUT
        DELETE DELETE
        PATCH PATCH
        HEAD HEAD
        OPTIONS OPTIONS
        TRACE TRACE",
    )
    .await;
    compare(
        "require('http').STATUS",
        "OK 200
        CREATED 201
        ACCEPTED 202
        NO_CONTENT 204
        PARTIAL_CONTENT 206
        MOVED_PERMANENTLY 301
        FOUND 302
        SEE_OTHER 303
        NOT_MODIFIED 304
        TEMPORARY_REDIRECT 307
        PERMANENT_REDIRECT 308
        BAD_REQUEST 400
        UNAUTHORIZED 401
        PAYMENT_REQUIRED 402
        FORBIDDEN 403
        NOT_FOUND 404
        METHOD_NOT_ALLOWED 405
        NOT_ACCEPTABLE 406
        REQUEST_TIMEOUT 408
        CONFLICT 409
        GONE 410
        PRECONDITION_FAILED 412
        PAYLOAD_TOO_LARGE 413
        UNSUPPORTED_MEDIA_TYPE 415
        UNPROCESSABLE 422
        UNPROCESSABLE_ENTITY 422
        TOO_MANY_REQUESTS 429
        INTERNAL_ERROR 500
        INTERNAL_SERVER_ERROR 500
        NOT_IMPLEMENTED 501
        BAD_GATEWAY 502
        SERVICE_UNAVAILABLE 503
        GATEWAY_TIMEOUT 504
        VERSION_NOT_SUPPORTED 505
        HTTP_VERSION_NOT_SUPPORTED 505",
    )
    .await;
    compare(
        "require('http').CONTENT",
        "JSON application/json
        FORM application/x-www-form-urlencoded
        MULTIPART multipart/form-data
        TEXT text/plain
        HTML text/html
        XML application/xml
        STREAM application/octet-stream",
    )
    .await;
    compare(
        "require('http').TRANSFER",
        "CHUNKED chunked
        SSE sse",
    )
    .await;
    compare(
        "require('http').ERROR",
        "PARSE_FAILED PARSE_FAILED
        INVALID_STATE INVALID_STATE
        WRITE_FAILED WRITE_FAILED
        STREAM_ERROR STREAM_ERROR",
    )
    .await;
}

#[tokio::test]
async fn of_time() {
    compare(
        "require('time')",
        "NANOSECOND 1
        MICROSECOND 1000
        MILLISECOND 1000000
        SECOND 1000000000
        MINUTE 60000000000
        HOUR 3600000000000
        RFC3339 2006-01-02T15:04:05Z07:00
        RFC3339NANO 2006-01-02T15:04:05.999999999Z07:00
        RFC822 02 Jan 06 15:04 MST
        RFC822Z 02 Jan 06 15:04 -0700
        RFC850 Monday, 02-Jan-06 15:04:05 MST
        RFC1123 Mon, 02 Jan 2006 15:04:05 MST
        RFC1123Z Mon, 02 Jan 2006 15:04:05 -0700
        DATE_TIME 2006-01-02 15:04:05
        DATE_ONLY 2006-01-02
        TIME_ONLY 15:04:05
        KITCHEN 3:04PM
        STAMP Jan _2 15:04:05
        STAMP_MILLI Jan _2 15:04:05.000
        STAMP_MICRO Jan _2 15:04:05.000000
        STAMP_NANO Jan _2 15:04:05.000000000
        JANUARY 1
        FEBRUARY 2
        MARCH 3
        APRIL 4
        MAY 5
        JUNE 6
        JULY 7
        AUGUST 8
        SEPTEMBER 9
        OCTOBER 10
        NOVEMBER 11
        DECEMBER 12
        SUNDAY 0
        MONDAY 1
        TUESDAY 2
        WEDNESDAY 3
        THURSDAY 4
        FRIDAY 5
        SATURDAY 6",
    )
    .await;
}

#[tokio::test]
async fn of_globals() {
    compare(
        "payload.format",
        "JSON json/plain
        YAML yaml/plain
        STRING text/plain
        BYTES application/octet-stream
        MSGPACK application/msgpack
        LUA lua/any
        GOLANG golang/any
        ERROR golang/error",
    )
    .await;
    compare(
        "errors",
        "NOT_FOUND NOT_FOUND
        ALREADY_EXISTS ALREADY_EXISTS
        INVALID INVALID
        PERMISSION_DENIED PERMISSION_DENIED
        UNAVAILABLE UNAVAILABLE
        INTERNAL INTERNAL
        CANCELED CANCELED
        CONFLICT CONFLICT
        TIMEOUT TIMEOUT
        RATE_LIMITED RATE_LIMITED
        UNKNOWN UNKNOWN",
    )
    .await;
    compare(
        "process.event",
        "CANCEL pid.cancel
        EXIT pid.exit
        LINK_DOWN pid.link.down
        OUTDATED pid.outdated",
    )
    .await;
    compare(
        "process.registry",
        "LOCAL 0
        EVENTUAL 1
        CONSISTENT 2
        STRONG 3",
    )
    .await;
}

#[tokio::test]
async fn of_files_and_stores() {
    compare(
        "require('store').backend",
        "MEMORY memory
        SQL sql
        KV_RAFT kv.raft
        KV_CRDT kv.crdt
        UNKNOWN unknown",
    )
    .await;
    compare(
        "require('store').consistency",
        "LINEARIZABLE linearizable
        EVENTUAL eventual
        LOCAL local
        UNKNOWN unknown",
    )
    .await;
    compare(
        "require('fs').type",
        "FILE file
        DIR directory",
    )
    .await;
    compare(
        "require('fs').seek",
        "SET set
        CUR cur
        END end",
    )
    .await;
}
