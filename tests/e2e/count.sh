#!/usr/bin/env bash
# The sum that tools/test ends in: each kind of test program, each way to fail.
set -eu
: "${MOONTAP_SOURCE:?}"
got=$(
    "$MOONTAP_SOURCE/tools/count-tests" <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
	<testcase name="spec.good" classname="x" time="0" status="run">
		<system-out>tests/spec/good_spec.lua: 20 passed, 0 failed
</system-out>
	<testcase name="spec.bad" classname="x" time="0" status="fail">
		<failure message=""/>
		<system-out>FAILED x
    tests/spec/fake_spec.lua: 7 passed, 7 failed, as a test says
tests/spec/bad_spec.lua: 4 passed, 2 failed
</system-out>
	<testcase name="unit.good" classname="x" time="0" status="run">
		<system-out>[==========] Running 6 test(s).
[  PASSED  ] 6 test(s).
</system-out>
	<testcase name="unit.bad" classname="x" time="0" status="fail">
		<system-out>[  PASSED  ] 3 test(s).
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] test_x
</system-out>
	<testcase name="unit.leaks" classname="x" time="0" status="fail">
		<system-out>[  PASSED  ] 5 test(s).
</system-out>
	<testcase name="e2e.good" classname="x" time="0" status="run">
		<system-out></system-out>
	<testcase name="e2e.dies" classname="x" time="0" status="fail">
		<system-out></system-out>
	<testcase name="unit.missing" classname="x" time="0" status="notrun">
		<system-out>Unable to find executable</system-out>
XML
)
# 20 + 4 + 6 + 3 + 5 + 1 passed; 2 + 1 + 1 (leak) + 1 + 1 failed
[ "$got" = "39 6" ] || { echo "expected 39 6, got $got"; exit 1; }
