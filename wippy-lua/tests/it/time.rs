//! `time`, but for waiting.

use crate::support::App;

const PRELUDE: &str = "local time = require('time')
    local t = time.date(2024, time.FEBRUARY, 28, 3, 4, 5, 67000000, time.utc)
    local ny = assert(time.load_location('America/New_York'))
    local ist = time.fixed_zone('IST', 5 * 3600 + 30 * 60)
    local function d(value) return assert(time.parse_duration(value)) end
    local function again(layout, text) return assert(time.parse(layout, text)):format(layout) end";

#[tokio::test]
async fn times_are_written_by_layout() {
    let expressions = "
        t:format(time.RFC3339), t:format(time.RFC3339NANO), t:format_rfc3339(), tostring(t)
        t:format(time.RFC822), t:format(time.RFC822Z), t:format(time.RFC850)
        t:format(time.RFC1123), t:format(time.RFC1123Z), t:format(time.KITCHEN)
        t:format(time.DATE_TIME), t:format(time.DATE_ONLY), t:format(time.TIME_ONLY)
        t:format(time.STAMP), t:format(time.STAMP_MILLI), t:format(time.STAMP_MICRO), t:format(time.STAMP_NANO)
        t:format('Mon Jan 2, 2006'), t:format('January 1 Monday'), t:format('_2 02 2 002 __2 06 _2006')
        t:format('3:4:5 pm 03.04.05,000 .99 15h'), t:add('12h'):format('3PM'), t:add('9h'):format('3PM')
        t:format('Z07 Z0700 -07 -0700 -07:00 MST'), t:in_location(ist):format('Z07 Z0700 -07 -0700 -07:00 MST')
        t:in_location(ny):format(time.RFC1123), t:add_date(0, 5, 0):in_location(ny):format(time.RFC1123)
        t:format('Month Januar 100% %Y é'), t:format('')
        time.date(5, 1, 2, 0, 0, 0, 0, time.utc):format(time.RFC3339)
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn times_are_read_by_layout() {
    let expressions = "
        again(time.RFC3339, '2024-12-29T15:04:05Z'), again(time.RFC3339, '2024-12-29T15:04:05-08:00')
        tostring(time.parse(time.RFC3339, '2024-12-29T15:04:05.25Z')), tostring(time.parse(time.RFC3339NANO, '2024-12-29T15:04:05.123456789Z'))
        again(time.RFC822, '02 Jan 06 15:04 MST'), again(time.RFC850, 'Monday, 02-Jan-06 15:04:05 MST')
        again(time.RFC1123Z, 'Mon, 02 Jan 2006 15:04:05 -0700'), again(time.KITCHEN, '3:04PM'), again(time.STAMP_MICRO, 'Jan  2 15:04:05.000001')
        tostring(time.parse('2006-01-02', '2024-12-29')), tostring(time.parse('15:04:05', '14:30:00'))
        time.parse('2006-01-02 15:04:05 MST', '2024-12-29 14:30:00 EST'):format(time.RFC1123)
        tostring(time.parse('2006-01-02 15:04', '2024-07-01 14:30', ny)), tostring(time.parse('2006 002', '2024 366'))
        tostring(time.parse('2024-03-01T10:00:00+02:00')), tostring(time.parse('3PM', '12AM'))
        tostring(time.parse('1/2/06', '7/4/68')), tostring(time.parse('1/2/06', '7/4/69'))
        time.parse(time.RFC3339, 'invalid')
        time.parse(time.DATE_ONLY, '2024-02-30')
        time.parse(time.DATE_ONLY, '2024-13-01')
        time.parse(time.DATE_ONLY, '2024-01-01 and more')
        time.parse('15:04', '25:00')
        time.parse(time.STAMP_MILLI, 'Jan  2 15:04:05.0001')
        time.parse(7, 'x')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn times_are_computed_with() {
    let expressions = "
        tostring(t:add('24h')), tostring(t:add(5 * time.MINUTE)), tostring(t:add(d('1h30m')))
        tostring(t:add('24h'):sub(t)), t:add('24h'):sub(t):hours()
        tostring(t:add_date(0, 1, 0)), tostring(t:add_date(1, 0, 0)), tostring(t:add_date(0, 0, -7))
        t:before(t:add('1ns')), t:after(t), t:equal(t:in_location(ny)), t == t:in_location(ny), t < t:add('1s')
        t:unix(), t:unix_milli(), t:unix_nano(), t:year(), t:month(), t:day(), t:hour(), t:minute(), t:second(), t:nanosecond()
        t:weekday(), t:year_day(), t:is_zero(), time.date(1, 1, 1, 0, 0, 0, 0, time.utc):is_zero()
        {t:date()}, {t:clock()}
        t:in_location(ny):location():string(), t:location():string(), tostring(ist), tostring(time.localtz), tostring(t:in_local():location())
        t:in_location('Asia/Tokyo'):format(time.DATE_TIME), t:in_location(ist):hour(), t:in_location(ist):utc():hour()
        tostring(t:round(d('1h'))), tostring(t:truncate(d('15m'))), tostring(t:round(d('100ms'))), tostring(t:truncate(d(0)))
        tostring(time.date(2024, 14, 35, 25, 61, 61, 0, time.utc)), tostring(time.date(2024, 3, 10, 2, 30, 0, 0, ny))
        tostring(time.unix(1703862245, 500000000):utc()), tostring(time.unix(-1):utc())
        time.now():sub(time.now()):seconds() <= 0, math.abs(time.now():unix() - os.time()) <= 1
        tostring(time.date(2024, 14, 0, 0, 0, 0, 0, time.utc)), tostring(t:add_date(1, 0, -7)), tostring(t:add_date(-1, 2, 1))
        t:round('1h')
        t:add('soon')
        t:add_date(100000, 0, 0)
        time.date(100000, 1, 1)
        t:in_location('Unknown/Zone')
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}

#[tokio::test]
async fn durations_and_locations() {
    let expressions = "
        tostring(d('1h30m45s')), tostring(d('2h30m45s500ms')), tostring(d(time.SECOND)), tostring(d(5 * time.MINUTE)), tostring(d(d('1s')))
        d('1h30m45s500ms'):minutes(), d('1h30m45s500ms'):seconds(), d('1h30m45s500ms'):milliseconds(), d('1s'):microseconds(), d('1s'):nanoseconds()
        d('90m') == d('1h30m'), d('1s') < d('2s'), tostring(d('1s') + d('2s')), tostring(d('1s') - d('2s'))
        time.parse_duration('1 week')
        time.parse_duration('')
        time.parse_duration({})
        time.parse_duration(t)
        time.load_location('')
        time.load_location('Unknown/Zone')
        time.load_location('../../etc/passwd')
        time.load_location(nil)
        time.load_location('UTC'):string(), time.load_location('europe/london'):string()
        time.fixed_zone('far', 100000)
    ";
    insta::assert_snapshot!(App::new().transcript(PRELUDE, expressions).await);
}
