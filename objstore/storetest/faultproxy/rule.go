package faultproxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// Syntax says how rules are written.
const Syntax = `FAULT[=ARGUMENT][@CHANCE][:KIND[:PREFIX]]

  delay=DURATION         every request later by that much
  slow=BYTES             bodies at that many bytes a second
  500, 503, 429, 403     that answer, with S3's error; =DURATION adds Retry-After
  no-bucket              404 NoSuchBucket
  page=STATUS            a login page with that status
  reset                  the connection is reset instead of an answer
  lost-answer            what is asked is done, then the connection is reset
  reset-upload=BYTES     reset after that much of the request's body
  reset-body=BYTES       reset after that much of the answer's body
  cut-body=BYTES         closed after that much of the answer's body
  stall-body=BYTES       nothing more after that much of the answer's body
  hang                   no answer, ever
  flip=OFFSET            one bit of the answer's body changed
  skew=DURATION          the service's clock is ahead of ours by that much
  refuse-conditions      501 to conditional writes
  ignore-conditions      conditions do not count (s3test's server only)

CHANCE is from 0 to 1. KIND is GetObject, HeadObject, PutObject, DeleteObject,
ListObjectsV2, or * for all. PREFIX is the key's.`

// ParseRule reads a rule as Syntax says, such as "503=2s@0.1:PutObject:data/".
func ParseRule(text string) (Rule, error) {
	rule := Rule{Name: text}
	what, rest, _ := strings.Cut(text, ":")
	kind, prefix, _ := strings.Cut(rest, ":")
	rule.Prefix = prefix
	if kind != "" && kind != "*" {
		rule.Kinds = []s3test.Kind{s3test.Kind(kind)}
		switch rule.Kinds[0] {
		case s3test.GetObject, s3test.HeadObject, s3test.PutObject, s3test.DeleteObject, s3test.ListObjectsV2, s3test.Other:
		default:
			return Rule{}, fmt.Errorf("%q: there is no kind of request %q", text, kind)
		}
	}
	what, chance, limited := strings.Cut(what, "@")
	if limited {
		var err error
		if rule.Chance, err = strconv.ParseFloat(chance, 64); err != nil || rule.Chance <= 0 || rule.Chance > 1 {
			return Rule{}, fmt.Errorf("%q: the chance %q is not above 0 and at most 1", text, chance)
		}
	}
	name, argument, _ := strings.Cut(what, "=")
	var err error
	if rule.Fault, err = fault(name, argument); err != nil {
		return Rule{}, fmt.Errorf("%q: %w", text, err)
	}
	return rule, nil
}

// answers are the errors that rules name by their status.
var answers = map[string]struct {
	status int
	code   string
}{
	"500": {500, "InternalError"}, "503": {503, "SlowDown"}, "429": {429, "TooManyRequests"},
	"403": {403, "AccessDenied"}, "no-bucket": {404, "NoSuchBucket"},
}

// simple are the faults without an argument.
var simple = map[string]func() s3test.Fault{
	"reset": s3test.Reset, "lost-answer": s3test.LoseAnswer,
	"hang":              func() s3test.Fault { return s3test.Hang(nil) },
	"refuse-conditions": s3test.RefuseConditions, "ignore-conditions": s3test.IgnoreConditions,
}

// numbered are the faults with a number.
var numbered = map[string]func(int) s3test.Fault{
	"slow": s3test.Slow, "page": s3test.Page, "flip": s3test.FlipBody,
	"reset-upload": s3test.ResetUpload, "reset-body": s3test.ResetBody, "cut-body": s3test.CutBody, "stall-body": s3test.StallBody,
}

// timed are the faults with a duration.
var timed = map[string]func(time.Duration) s3test.Fault{"delay": s3test.Delay, "skew": s3test.Skew}

func fault(name, argument string) (s3test.Fault, error) {
	if make, ok := numbered[name]; ok {
		n, err := strconv.Atoi(argument)
		if err != nil || n < 0 || n == 0 && name == "slow" {
			return nil, fmt.Errorf("%s wants a number, not %q", name, argument)
		}
		return make(n), nil
	}
	if make, ok := timed[name]; ok {
		d, err := time.ParseDuration(argument)
		if err != nil {
			return nil, fmt.Errorf("%s wants a duration, not %q", name, argument)
		}
		return make(d), nil
	}
	if a, ok := answers[name]; ok {
		answer := s3test.Answer(a.status, a.code)
		if argument == "" {
			return answer, nil
		}
		d, err := time.ParseDuration(argument)
		if err != nil {
			return nil, fmt.Errorf("%s wants no argument or a duration, not %q", name, argument)
		}
		return s3test.RetryAfter(d, answer), nil
	}
	if make, ok := simple[name]; ok && argument == "" {
		return make(), nil
	}
	return nil, fmt.Errorf("there is no such fault")
}
