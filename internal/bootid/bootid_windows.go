package bootid

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

// timeOfDay is SYSTEM_TIMEOFDAY_INFORMATION. Times are in 100 ns.
// https://www.geoffchappell.com/studies/windows/km/ntoskrnl/api/ex/sysinfo/timeofday.htm
type timeOfDay struct {
	bootTime, currentTime, timeZoneBias int64
	timeZoneID, _                       uint32
	bootTimeBias, sleepTimeBias         uint64
}

// get returns when the system started by the clock of then: the time of the start follows when the
// clock is set, and the bias says by how much.
func get() string {
	var t timeOfDay
	err := windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, unsafe.Pointer(&t), uint32(unsafe.Sizeof(t)), nil)
	if err != nil || t.bootTime == 0 {
		return ""
	}
	return strconv.FormatInt(t.bootTime-int64(t.bootTimeBias), 16)
}
