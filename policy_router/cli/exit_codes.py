"""The exit codes. ``EXIT_CODES`` says what they mean, at the end of each help."""

GOOD, POLICY_ERRORS, USAGE, REFUSED, NOT_IDENTICAL, CHILD_FAILED = range(6)
UNDECIDED = 6
NOT_WHOLE, INTERRUPTED, TERMINATED = POLICY_ERRORS, 130, 143

EXIT_CODES = (
    "exit codes: 0 success, 1 the policy has errors, a test fails, an assertion is violated or a"
    " log is not whole, 2 wrong usage, a bad request or no test, 3 refused, 4 a replay is not"
    " identical, 5 a child failed, 6 a question is undecided, 130 or 143 interrupted"
)
