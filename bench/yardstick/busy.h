/* How long all CPUs together have been busy, in microseconds: user, nice, system, irq, softirq (proc(5)). */
#include <stdio.h>
#include <unistd.h>

static double busy_us(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq;
	FILE *stat = fopen("/proc/stat", "r");
	int fields = 0;

	if (stat) {
		fields = fscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
				&softirq);
		fclose(stat);
	}
	return fields == 7 ? (double)(user + nice + system + irq + softirq) * 1e6 / (double)sysconf(_SC_CLK_TCK) : 0;
}
