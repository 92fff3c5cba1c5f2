package dirstore

import "time"

// Where there are no POSIX renames, the conformance suite's many writers of one key wait
// for each other longer than anybody else has to.
func init() { inUsePatience = 10 * time.Second }
