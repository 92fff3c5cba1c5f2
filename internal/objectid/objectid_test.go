package objectid

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDRoundTripsThroughItsText(t *testing.T) {
	id := Of([]byte("pocket"))
	parsed, err := Parse(id.String())
	require.NoError(t, err)
	require.Equal(t, id, parsed)
	require.Equal(t, "data/"+id.String(), id.Key())
	require.False(t, id.IsZero())
	require.True(t, ID{}.IsZero())

	text, err := id.MarshalText()
	require.NoError(t, err)
	var back ID
	require.NoError(t, back.UnmarshalText(text))
	require.Equal(t, id, back)
}

func TestParseRefusesWhatStringNeverWrites(t *testing.T) {
	good := Of(nil).String()
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), "g" + good[1:]} {
		_, err := Parse(bad)
		require.Error(t, err, "%q", bad)
	}
}
