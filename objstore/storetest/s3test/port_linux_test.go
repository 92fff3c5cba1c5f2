package s3test_test

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// While a server is off the network, others start theirs wherever the system lets them.
func TestPortOfAStoppedServerIsGivenToNobody(t *testing.T) {
	srv := s3test.New(t)
	srv.Stop()
	endpoint, err := url.Parse(srv.Endpoint)
	require.NoError(t, err)
	port, err := strconv.Atoi(endpoint.Port())
	require.NoError(t, err)
	// A system that has this one port to give.
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, port<<16|port)
		})
		if failed != nil {
			return failed
		}
		return err
	}}
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		_, err = listen.Listen(t.Context(), "tcp4", addr)
		if errors.Is(err, unix.ENOPROTOOPT) {
			t.Skip("before Linux 6.3 there is no such system: ", err)
		}
		require.Error(t, err, addr)
	}
	_, err = net.Dial("tcp", endpoint.Host)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	require.NoError(t, srv.Restart())
	c, err := net.Dial("tcp", endpoint.Host)
	require.NoError(t, err)
	c.Close()
}
