;; The work of the `bench` guest as an Extism plugin: a core module that takes bytes and gives bytes. `echo` copies its input
;; into its own memory and out again eight bytes at a time, which is all that the host's interface offers and what the
;; plugin kits do; `echo_untouched` hands the input back where it lies.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $input_load_u64 (param i64) (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory (export "memory") 16)

  ;; Two numbers of 32 bits, little endian; their sum.
  (func (export "add") (result i32)
    (local $both i64) (local $output i64)
    (local.set $both (call $input_load_u64 (i64.const 0)))
    (local.set $output (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $output)
      (i64.extend_i32_u (i32.add
        (i32.wrap_i64 (local.get $both))
        (i32.wrap_i64 (i64.shr_u (local.get $both) (i64.const 32))))))
    (call $output_set (local.get $output) (i64.const 4))
    (i32.const 0))

  (func (export "echo_untouched") (result i32)
    (call $output_set (call $input_offset) (call $input_length))
    (i32.const 0))

  (func (export "echo") (result i32)
    (local $at i64) (local $length i64) (local $words i64) (local $output i64)
    (local.set $length (call $input_length))
    (local.set $words (i64.and (local.get $length) (i64.const -8)))
    (block $read (loop $word
      (br_if $read (i64.ge_u (local.get $at) (local.get $words)))
      (i64.store (i32.wrap_i64 (local.get $at)) (call $input_load_u64 (local.get $at)))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br $word)))
    (block $read (loop $byte
      (br_if $read (i64.ge_u (local.get $at) (local.get $length)))
      (i32.store8 (i32.wrap_i64 (local.get $at)) (call $input_load_u8 (local.get $at)))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br $byte)))
    (local.set $output (call $alloc (local.get $length)))
    (local.set $at (i64.const 0))
    (block $written (loop $word
      (br_if $written (i64.ge_u (local.get $at) (local.get $words)))
      (call $store_u64 (i64.add (local.get $output) (local.get $at))
        (i64.load (i32.wrap_i64 (local.get $at))))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br $word)))
    (block $written (loop $byte
      (br_if $written (i64.ge_u (local.get $at) (local.get $length)))
      (call $store_u8 (i64.add (local.get $output) (local.get $at))
        (i32.load8_u (i32.wrap_i64 (local.get $at))))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br $byte)))
    (call $output_set (local.get $output) (local.get $length))
    (i32.const 0)))
