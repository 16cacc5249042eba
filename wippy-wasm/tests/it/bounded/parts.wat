(component $parts
  ;; An instance of nothing but types is counted, too.
  (import "test:parts/types" (instance (type u32) (export "number" (type (eq 0)))))

  (core module $m
    (memory (export "memory") 1)
    (func $leaf (export "leaf") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "straight") (param i32) (result i32) (call $leaf (local.get 0)))
    (func (export "loops") (param i32) (result i32) (loop (nop)) (local.get 0)))
  (core instance $m (instantiate $m))

  ;; The same module twice, with different imports.
  (core module $through
    (import "from" "global" (global i32))
    (import "from" "f" (func $f (param i32) (result i32)))
    (func $own (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
    (func (export "f") (param i32) (result i32) (call $own (call $f (local.get 0))))
    (export "passed-on" (func $f)))
  (core module $globals (global (export "global") i32 (i32.const 0)))
  (core instance $globals (instantiate $globals))
  (alias core export $globals "global" (core global $global))
  (alias core export $m "straight" (core func $core-straight))
  (alias core export $m "loops" (core func $core-loops))
  (core instance $from-straight (export "global" (global $global)) (export "f" (func $core-straight)))
  (core instance $from-loops (export "global" (global $global)) (export "f" (func $core-loops)))
  (core instance $short (instantiate $through (with "from" (instance $from-straight))))
  (core instance $long (instantiate $through (with "from" (instance $from-loops))))

  (type $f (func (param "x" u32) (result u32)))
  (func $straight (type $f) (canon lift (core func $m "straight")))
  (func $loops (type $f) (canon lift (core func $m "loops")))
  (func $by-short (type $f) (canon lift (core func $short "f")))
  (func $by-long (type $f) (canon lift (core func $long "f")))
  (func $short-passed-on (type $f) (canon lift (core func $short "passed-on")))
  (func $long-passed-on (type $f) (canon lift (core func $long "passed-on")))

  ;; What is lowered may be anything.
  (core func $lowered (canon lower (func $straight)))
  (core instance $from-lowered (export "global" (global $global)) (export "f" (func $lowered)))
  (core instance $by-lowered (instantiate $through (with "from" (instance $from-lowered))))
  (func $by-lowered (type $f) (canon lift (core func $by-lowered "f")))

  ;; An interface as encoders make it: a component that exports what it imports.
  (component $shim
    (import "import-func-g" (func $g (param "x" u32) (result u32)))
    (import "import-func-f" (func $f (param "x" u32) (result u32)))
    (export "f" (func $f))
    (export "g" (func $g)))
  (instance $one (instantiate $shim (with "import-func-f" (func $straight)) (with "import-func-g" (func $loops))))
  (instance $other (instantiate $shim (with "import-func-f" (func $by-long)) (with "import-func-g" (func $by-short))))
  (export $exported "test:parts/one" (instance $one))
  (export "test:parts/other" (instance $other))

  ;; An instance that is made of functions.
  (instance $made (export "f" (func $long-passed-on)) (export "g" (func $short-passed-on)) (export "h" (func $by-lowered)))
  (export "test:parts/made" (instance $made))

  ;; A component with code of its own.
  (component $whole
    (import "given" (instance $given (export "f" (func (param "x" u32) (result u32)))))
    (alias outer $parts $m (core module $outer))
    (core instance $outer (instantiate $outer))
    (core module $m
      (func (export "straight") (param i32) (result i32) (local.get 0))
      (func (export "loops") (param i32) (result i32) (loop (nop)) (local.get 0)))
    (core instance $m (instantiate $m))
    (type $f (func (param "x" u32) (result u32)))
    (func $straight (type $f) (canon lift (core func $m "straight")))
    (func $loops (type $f) (canon lift (core func $m "loops")))
    (func $outer (type $f) (canon lift (core func $outer "straight")))
    (alias export $given "f" (func $given-f))
    (export "f" (func $straight))
    (export "g" (func $loops))
    (export "outer" (func $outer))
    (export "given" (func $given-f)))
  (instance $whole (instantiate $whole (with "given" (instance $one))))
  (export "test:parts/whole" (instance $whole))

  ;; By themselves, from an instance that was exported before.
  (alias export $exported "f" (func $again))
  (alias export $exported "g" (func $again-g))
  (export "again" (func $again))
  (export "again-long" (func $again-g))
  (export "last" (func $by-short)))
