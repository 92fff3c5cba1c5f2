package faultproxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore/storetest/faultproxy"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// echo is an endpoint that answers GET with the key and takes what is PUT.
type echo struct {
	mu   sync.Mutex
	puts map[string]int // bytes by key; guarded by mu
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.puts[s3test.KeyOf(r)] = int(n)
		e.mu.Unlock()
		return
	}
	io.WriteString(w, strings.Repeat(r.URL.EscapedPath(), 100))
}

func start(t *testing.T, seed uint64, rules ...string) (*faultproxy.Proxy, *echo) {
	t.Helper()
	e := &echo{puts: map[string]int{}}
	target := httptest.NewServer(e)
	t.Cleanup(target.Close)
	p, err := faultproxy.Start(target.URL, faultproxy.Options{Seed: seed})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	set(t, p, rules...)
	return p, e
}

func set(t *testing.T, p *faultproxy.Proxy, rules ...string) {
	t.Helper()
	var parsed []faultproxy.Rule
	for _, text := range rules {
		rule, err := faultproxy.ParseRule(text)
		require.NoError(t, err)
		parsed = append(parsed, rule)
	}
	p.Set(parsed...)
}

// get returns the status of a GET, 0 when there was no whole answer.
func get(p *faultproxy.Proxy, key string) (status int, body []byte) {
	resp, err := http.Get(p.Endpoint + "/bucket/" + key)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, body
	}
	return resp.StatusCode, body
}

func TestRulesMeetTheRequestsTheyAreFor(t *testing.T) {
	p, e := start(t, 1, "503=1500ms:PutObject:data/", "429:GetObject:index/")
	status, _ := get(p, "data/a")
	require.Equal(t, 200, status)
	status, body := get(p, "index/a")
	require.Equal(t, 429, status)
	require.Contains(t, string(body), "<Code>TooManyRequests</Code>")
	put := func(key string) *http.Response {
		req, err := http.NewRequest(http.MethodPut, p.Endpoint+"/bucket/"+key, bytes.NewReader(make([]byte, 100_000)))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp
	}
	resp := put("data/a")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "2", resp.Header.Get("Retry-After"))
	require.Equal(t, 200, put("index/a").StatusCode)
	require.Equal(t, map[string]int{"index/a": 100_000}, e.puts)
	require.Equal(t, map[string]int{"503=1500ms:PutObject:data/": 1, "429:GetObject:index/": 1}, p.Hits())
	require.Equal(t, 2, p.Counts()[s3test.PutObject])
}

func TestChanceFollowsFromSeedAndRequestNotFromTheOrder(t *testing.T) {
	met := func(seed uint64, order []int) map[string]string {
		p, _ := start(t, seed, "500@0.3:GetObject:k")
		outcomes := map[string]string{}
		for range 20 {
			for _, k := range order {
				key := fmt.Sprint("k", k)
				status, _ := get(p, key)
				outcomes[key] += fmt.Sprint(status, " ")
			}
		}
		return outcomes
	}
	one := met(7, []int{1, 2, 3, 4, 5})
	require.Equal(t, one, met(7, []int{4, 5, 3, 1, 2}))
	require.NotEqual(t, one, met(8, []int{1, 2, 3, 4, 5}))
	failed := strings.Count(fmt.Sprint(one), "500")
	require.Greater(t, failed, 10)
	require.Less(t, failed, 50)
}

func TestBodiesAreCutResetFlippedAndSlow(t *testing.T) {
	p, _ := start(t, 1)
	_, whole := get(p, "k")
	for _, c := range []struct {
		rule string
		most int // bytes that arrive before the connection ends
	}{{"cut-body=100", 100}, {"reset-body=100", 100}, {"reset", 0}, {"lost-answer", 0}} {
		set(t, p, c.rule)
		status, body := get(p, "k")
		require.Zero(t, status, c.rule)
		require.LessOrEqual(t, len(body), c.most, c.rule)
	}
	set(t, p, "flip=13")
	status, body := get(p, "k")
	require.Equal(t, 200, status)
	differences := 0
	for i := range body {
		if body[i] != whole[i] {
			differences++
			require.Equal(t, 13, i)
		}
	}
	require.Equal(t, 1, differences)

	set(t, p, "slow=10000", "delay=50ms")
	begun := time.Now()
	status, body = get(p, "k")
	require.Equal(t, 200, status)
	require.Equal(t, whole, body)
	require.Greater(t, time.Since(begun), 50*time.Millisecond+time.Duration(len(whole))*time.Second/10000)

	set(t, p, "reset-upload=1000")
	_, err := http.Post(p.Endpoint+"/bucket/k", "", bytes.NewReader(make([]byte, 8<<20)))
	require.Error(t, err)
}

func TestCutRefusesUntilJoined(t *testing.T) {
	p, _ := start(t, 1, "hang:GetObject:hangs")
	failed := make(chan int, 1)
	go func() {
		status, _ := get(p, "hangs")
		failed <- status
	}()
	require.Eventually(t, func() bool { return p.Hits()["hang:GetObject:hangs"] == 1 }, 2*time.Minute, time.Millisecond)
	p.Cut()
	p.Cut()
	require.Zero(t, <-failed)
	_, err := http.Get(p.Endpoint)
	var refused *url.Error
	require.ErrorAs(t, err, &refused)
	require.NoError(t, p.Join())
	require.Error(t, p.Join())
	status, _ := get(p, "k")
	require.Equal(t, 200, status)
}

func TestKeysPassAsTheyAre(t *testing.T) {
	p, _ := start(t, 1)
	for _, key := range []string{"a%2Fb", "a//b", "sp%20ace", "plus+", "%E3%83%9D"} {
		status, body := get(p, key)
		require.Equal(t, 200, status)
		require.True(t, strings.HasPrefix(string(body), "/bucket/"+key+"/bucket/"), "%s: %.40s", key, body)
	}
}

func TestMistakesInRulesAreTold(t *testing.T) {
	for _, text := range []string{"", "nonsense", "slow", "slow=0", "delay=5", "503=x", "reset=1", "500@0", "500@2", "500:Gets", "flip=-1"} {
		_, err := faultproxy.ParseRule(text)
		require.Error(t, err, text)
	}
}
