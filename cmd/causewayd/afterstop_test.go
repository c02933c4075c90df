package main

import "testing"

func TestStopJob(t *testing.T) {
	for name, test := range map[string]struct {
		jobs string
		want bool
	}{
		"stop":           {"412 causewayd.service stop running\n", true},
		"shutdown":       {"7 cron.service stop running\n8 causewayd.service stop waiting\n", true},
		"restart":        {"412 causewayd.service restart running\n", false},
		"start":          {"412 causewayd.service start waiting\n", false},
		"crash":          {"", false},
		"another's stop": {"412 other.service stop running\n", false},
		"aligned":        {"  412   causewayd.service   stop   running\n", true},
		"cut off":        {"412 causewayd.service", false},
	} {
		if got := stopJob(test.jobs, "causewayd.service"); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
