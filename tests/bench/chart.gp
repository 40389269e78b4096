# Draw the tables of `make bench`: a panel a table, a bar an engine, on a logarithmic scale.
#
#   gnuplot -e "folder='build/chart'; names='database kv-c-100000'; picture='bench.svg'" chart.gp
#
# The first engine of a table is the line at 1; bars that hang down from it are faster.
# The name "latency" gives a panel of another kind: quantiles of two engines.

array shades[7] = ["#b9b9b9", "#8f8f8f", "#c9a66b", "#6f9f8f", "#a98bb5", "#777777", "#d0b0a0"]

if (strstrt(picture, ".png") > 0) { set terminal pngcairo size 1500,430*words(names) font "sans,11" } \
else { set terminal svg size 1500,430*words(names) background "white" font "sans,13" }
set output picture

file(name) = sprintf("%s/%s.dat", folder, name)
title_of(name) = system(sprintf("sed -n 's/^# //p' %s", file(name)))
columns_of(name) = int(system(sprintf("sed -n 2p %s | wc -w", file(name))))
engine(name, column) = system(sprintf("sed -n 2p %s | cut -f%d | tr _ ' '", file(name), column))
wrapped(label) = system(sprintf("echo '%s' | tr _ ' ' | fold -s -w 15", label))
# Ours are blue, whatever their column.
is_ours(text) = text eq "pmemkv" || text eq "pmem" || text eq "VFS pmem"
ours(text) = text eq "pmemkv" ? "#1b4f8f" : "#4a90d9"
color(text, column) = is_ours(text) ? ours(text) : shades[(column - 3) % 7 + 1]

set multiplot layout words(names),1
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 0.95 noborder
set boxwidth 0.92
set grid ytics lc rgb "#dddddd"
set tics nomirror
set key at graph 1.01,1 left top noenhanced reverse Left
set lmargin at screen 0.05
set rmargin at screen 0.87
set bmargin 4
set offsets 0, 0, 0.08, 0.08
do for [name in names] {
  set title title_of(name) noenhanced font ",15"
  if (name ne "latency") {
    set border 2 lc rgb "#666666"
    set xtics autofreq noenhanced scale 0
    # The logarithm is taken by hand: on a logarithmic axis bars would not begin at 1.
    set ytics ("0.01" log10(0.01), "0.02" log10(0.02), "0.05" log10(0.05), "0.1" -1, "0.2" log10(0.2), \
      "0.5" log10(0.5), "1" 0, "2" log10(2), "5" log10(5), "10" 1, "20" log10(20), "50" log10(50), "100" 2)
    plot for [c=3:columns_of(name)] file(name) skip 2 using (log10(column(c))):xtic(wrapped(strcol(1))) \
        title engine(name, c) lc rgb color(engine(name, c), c), \
      0 lc rgb "#333333" lw 1.5 title engine(name, 2)
  } else {
    set border 3 lc rgb "#666666"
    set ytics ("1" 0, "10" 1, "100" 2, "1 ms" 3, "10 ms" 4, "100 ms" 5)
    set xtics ("p0" 0, "p50" -log10(0.5), "p90" 1, "p99" 2, "p99.9" 3, "p99.99" 4)
    plot file(name) index 0 using (-log10(1 - $1)):(log10($2)) with linespoints pt 7 lw 2 lc rgb ours("pmem") title "pmem", \
      file(name) index 1 using (-log10(1 - $1)):(log10($2)) with linespoints pt 7 lw 2 lc rgb shades[2] title "stock WAL FULL"
  }
}
unset multiplot
